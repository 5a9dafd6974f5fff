"""A reward with the judgement cache: known judgements are reused, equal sequences are judged once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from grao_pipeline.errors import StageFailure
from grao_pipeline.scoring.judgements import Judgements, with_fingerprints
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward

JUDGEMENTS_PER_WRITE = 16
"""Most finished judgements that a crash can lose."""


class CachedReward:
    """Judges candidates, and counts hits, misses and tokens.

    Args:
        fingerprint: identity of the reward in the cache.
        name: name of the reward, for `grao cache info`.
        cache: None to remember nothing; equal sequences of one call are still judged once.
    """

    def __init__(self, reward: Reward, fingerprint: str, name: str, cache: Judgements | None) -> None:
        self._reward = reward
        self._fingerprint = fingerprint
        self._name = name
        self._cache = cache
        self.hits = 0
        self.misses = 0
        self.tokens_spent = 0
        self.tokens_saved = 0

    @property
    def reads_group(self) -> bool:
        """Whether the reward sees the other samples of a group."""
        return self._reward.reads_group

    def score(
        self, candidates: Sequence[Candidate], on_judged: Callable[[int], None] = lambda num: None
    ) -> list[Judgement]:
        """One judgement per candidate, in order.

        Args:
            on_judged: called with the number of candidates whose judgement has become known since the last call.

        Raises:
            StageFailure: the reward did not return one judgement per candidate.
        """
        pairs = list(with_fingerprints(candidates, self._reward.reads_group))
        keys, unique = [key for key, _ in pairs], dict(pairs)
        known = self._find(list(unique))
        unknown = [key for key in unique if key not in known]
        self.hits += len(keys) - len(unknown)
        on_judged(len(keys) - len(unknown))
        new = dict(self._judge(unknown, [unique[key] for key in unknown], on_judged))
        judgements = [known[key] if key in known else new[key] for key in keys]
        spent = sum(judgement.tokens for judgement in new.values())
        self.tokens_spent += spent
        self.tokens_saved += sum(judgement.tokens for judgement in judgements) - spent
        return judgements

    def ask_ahead(self, candidates: Iterable[Candidate]) -> None:
        """Let the reward ask about all candidates at once whose judgement is not known."""
        unique = dict(with_fingerprints(candidates, self._reward.reads_group))
        known = self._find(list(unique))
        self._reward.ask_ahead([candidate for key, candidate in unique.items() if key not in known])

    def _find(self, keys: list[str]) -> dict[str, Judgement]:
        if self._cache is None:
            return {}
        judgements = self._cache.find(self._fingerprint, keys)
        return {key: judgement for key, judgement in zip(keys, judgements, strict=True) if judgement is not None}

    def _judge(
        self, keys: list[str], candidates: list[Candidate], on_judged: Callable[[int], None]
    ) -> Iterator[tuple[str, Judgement]]:
        """Ask the reward; every judgement is in the cache before it is yielded."""
        if not candidates:
            return
        stream = _with_keys(self._reward.score(candidates), keys, candidates)
        while batch := list(islice(stream, JUDGEMENTS_PER_WRITE)):
            if self._cache is not None:
                self._cache.add(self._fingerprint, self._name, batch)
            self.misses += len(batch)
            on_judged(len(batch))
            yield from batch


def _with_keys(
    judgements: Iterable[Judgement], keys: list[str], candidates: Sequence[Candidate]
) -> Iterator[tuple[str, Judgement]]:
    count = 0
    for count, judgement in enumerate(judgements, start=1):
        if count <= len(keys):
            yield keys[count - 1], _within(judgement, candidates[count - 1].completion)
    if count != len(keys):
        raise StageFailure(
            f"The reward returned {count} judgements for {len(keys)} sequences; it must return one per sequence."
        )


def _within(judgement: Judgement, text: str) -> Judgement:
    """The judgement, or an error where a step of it ends behind the text."""
    if not judgement.steps or judgement.steps[-1].end <= len(text):
        return judgement
    return Judgement(None, "error", f"a step ends at character {judgement.steps[-1].end}; the text has {len(text)}")
