"""One thing that was tried, and how it ended."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from benchmarks.chaos.place import Place


@dataclass(frozen=True)
class Trial:
    """One thing that was tried, and how it ended.

    Attributes:
        what: the row of the table, e.g. `part of a complete table`.
        outcome: a short word: `equal`, `named`, `harmless`, `refused`, or in capitals what must not be:
            `TRACEBACK`, `HANG`, `SILENT`, `DIFFERENT`.
        detail: how to repeat it; printed if it is bad.
        kills: processes that were killed while they ran.
    """

    what: str
    outcome: str
    detail: str = ""
    kills: int = 0

    @property
    def bad(self) -> bool:
        return self.outcome.isupper()


class Campaign(Protocol):
    """Trials without end, all drawn from the seed."""

    def __call__(self, place: Place, seed: int) -> Iterator[Trial]: ...
