"""A reward behind the cache of judgements: what is known is not asked again, equal sequences are asked once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from grao_pipeline.errors import StageFailure
from grao_pipeline.scoring.cache import JudgementCache, candidate_fingerprint
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward

JUDGEMENTS_PER_WRITE = 16
"""What a crash can lose, beside what was in flight."""


class CachedReward:
    """Judges candidates, and counts.

    Args:
        identity: the reward's fingerprint.
        cache: None to remember nothing; equal sequences of one call are still judged once.
    """

    def __init__(self, reward: Reward, identity: str, name: str, cache: JudgementCache | None) -> None:
        self._reward = reward
        self._identity = identity
        self._name = name
        self._cache = cache
        self.reads_group = bool(getattr(reward, "reads_group", False))
        self.hits = 0
        self.misses = 0
        self.tokens_spent = 0
        self.tokens_saved = 0

    def score(
        self, candidates: Sequence[Candidate], on_judged: Callable[[int], None] = lambda num: None
    ) -> list[Judgement]:
        """One judgement per candidate, in order.

        Args:
            on_judged: called with the number of candidates whose judgement has become known since the last call.

        Raises:
            StageFailure: the reward did not give one judgement for each candidate.
        """
        keys = [candidate_fingerprint(candidate, self.reads_group) for candidate in candidates]
        unique = dict(zip(keys, candidates, strict=True))
        known = self._find(list(unique))
        asked = [key for key in unique if key not in known]
        self.hits += len(keys) - len(asked)
        on_judged(len(keys) - len(asked))
        judged = dict(self._ask(asked, [unique[key] for key in asked], on_judged))
        judgements = [known[key] if key in known else judged[key] for key in keys]
        spent = sum(judgement.tokens for judgement in judged.values())
        self.tokens_spent += spent
        self.tokens_saved += sum(judgement.tokens for judgement in judgements) - spent
        return judgements

    def _find(self, keys: list[str]) -> dict[str, Judgement]:
        if self._cache is None:
            return {}
        found = self._cache.find(self._identity, keys)
        return {key: judgement for key, judgement in zip(keys, found, strict=True) if judgement is not None}

    def _ask(
        self, keys: list[str], candidates: list[Candidate], on_judged: Callable[[int], None]
    ) -> Iterator[tuple[str, Judgement]]:
        """Judge what is not known; each judgement is in the cache before it is yielded."""
        if not candidates:
            return
        stream = _one_for_each(self._reward.score(candidates), keys)
        while batch := list(islice(stream, JUDGEMENTS_PER_WRITE)):
            if self._cache is not None:
                self._cache.add(self._identity, self._name, batch)
            self.misses += len(batch)
            on_judged(len(batch))
            yield from batch


def _one_for_each(judgements: Iterable[Judgement], keys: list[str]) -> Iterator[tuple[str, Judgement]]:
    count = 0
    for count, judgement in enumerate(judgements, start=1):
        if count <= len(keys):
            yield keys[count - 1], judgement
    if count != len(keys):
        raise StageFailure(f"The reward gave {count} judgements for {len(keys)} sequences; it must give one for each.")
