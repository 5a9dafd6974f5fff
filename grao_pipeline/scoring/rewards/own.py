"""A user's own reward, held to its contract: whatever it raises or returns is one error that names its line."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from grao_pipeline.errors import StageFailure
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.own_code import own_code
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward

Result = TypeVar("Result")


class OwnReward(Reward):
    """Passes every call on to a user's reward.

    Args:
        name: of the reward, as it was given.
    """

    def __init__(self, reward: Reward, name: str) -> None:
        super().__init__(reward.arguments, reward.runtime)
        self._reward = reward
        self._what = f"Reward '{name}'"
        self.reads_group = reward.reads_group  # type: ignore[misc]  # the trait of a class, here of an object
        self.verifies = reward.verifies  # type: ignore[misc]

    @property
    def plugin(self) -> Callable[..., object]:
        return self._reward.plugin

    def identity(self) -> Mapping[str, object]:
        with self._own_code():
            identity = dict(self._reward.identity())
            fingerprint(identity)  # raises where it is not JSON
            return identity

    def fields(self) -> Sequence[str]:
        with self._own_code():
            return list(self._reward.fields())

    def verdicts(self, judgement: Judgement) -> Mapping[str, int]:
        with self._own_code():
            return {name: int(count) for name, count in self._reward.verdicts(judgement).items()}

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        with self._own_code():
            judgements = iter(self._reward.score(candidates))
        return self._judgements(judgements, len(candidates))

    def _judgements(self, judgements: Iterator[object], num: int) -> Iterator[Judgement]:
        for _ in range(num + 1):  # one more, to be refused: the reward may never end
            with self._own_code():
                judgement = next(judgements, None)
                if judgement is None:
                    return
                if not isinstance(judgement, Judgement):
                    raise StageFailure(
                        f"{self._what} returned {judgement!r:.100} as a judgement. Return Judgement.of(…)."
                    )
            yield judgement

    def num_devices(self) -> int:
        with self._own_code():
            return self._reward.num_devices()

    def takes_batches(self) -> bool:
        with self._own_code():
            return self._reward.takes_batches()

    def ask_ahead(self, candidates: Sequence[Candidate]) -> None:
        with self._own_code():
            self._reward.ask_ahead(candidates)

    def stored(self) -> None:
        with self._own_code():
            self._reward.stored()

    def remarks(self) -> list[str]:
        with self._own_code():
            return [str(remark) for remark in self._reward.remarks()]

    def close(self) -> None:
        with self._own_code():
            self._reward.close()

    def _own_code(self) -> AbstractContextManager[None]:
        return own_code(self._what, self.plugin)
