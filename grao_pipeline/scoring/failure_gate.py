"""Holds scored parts back until the reward has judged one sample.

A reward that fails on every sample is misconfigured, and a table of nulls would only hide that.
"""

from collections.abc import Sequence

from grao_pipeline.contract import Row
from grao_pipeline.errors import StageFailure

MAX_FAILURES = 256
"""Stop after this many consecutive failures: the reward is probably misconfigured."""

ScoredPart = tuple[int, list[Row]]
"""Index of a part, and its rows."""


class FailureGate:
    """Lets parts pass once a sample was judged.

    Args:
        reward: name of the reward, for the error.
        is_open: whether an earlier run has judged a sample already.
    """

    def __init__(self, reward: str, is_open: bool) -> None:
        self._reward = reward
        self._is_open = is_open
        self._held: list[ScoredPart] = []
        self._failures: list[str] = []

    def admit(self, part: ScoredPart, failures: Sequence[str] | None) -> list[ScoredPart]:
        """The parts that can be written now.

        Args:
            failures: the reasons, if every sample of the part failed; None if one was judged.

        Raises:
            StageFailure: the first `MAX_FAILURES` samples all failed.
        """
        self._held.append(part)
        self._is_open = self._is_open or failures is None
        self._failures += failures or []
        if not self._is_open and len(self._failures) >= MAX_FAILURES:
            raise self._failure()
        return self._release() if self._is_open else []

    def finish(self) -> list[ScoredPart]:
        """The parts that are still held back: they had no sample to judge.

        Raises:
            StageFailure: every sample failed.
        """
        if self._held and self._failures:
            raise self._failure()
        return self._release()

    def _release(self) -> list[ScoredPart]:
        parts, self._held = self._held, []
        return parts

    def _failure(self) -> StageFailure:
        return StageFailure(
            f"Reward '{self._reward}' failed on all {len(self._failures)} samples so far, e.g.: {self._failures[0]}. "
            "Nothing was written."
        )
