"""The classifier seam of reward models: rows of token ids in, logits per row out."""

from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grao_pipeline.residence import Resident


@dataclass(frozen=True)
class ClassifierOptions:
    """How to open a sequence classifier.

    Example: `ClassifierOptions(Path("rm"), "float32", "cpu", max_length=None, batch_size=32, arguments={})`
    """

    directory: Path
    dtype: str
    """`float32` or `bfloat16`."""
    device: str
    """`cpu` or `cuda`."""
    max_length: int | None
    """Longest row to score, in tokens; None: as long as the model reads."""
    batch_size: int
    arguments: Mapping[str, Any]
    """Further arguments of the engine."""


class Classifier(Resident):
    """A sequence classifier with its weights in memory. Constructed as `Classifier(options)`."""

    max_length: int | None
    """The longest row that it reads, in tokens; None if it has no limit."""

    @abstractmethod
    def logits(self, rows: Sequence[Sequence[int]]) -> Generator[tuple[int, list[float]], None, None]:
        """(index of a row, its logits [num_labels]), in the order in which they become known.

        A row's logits do not depend on the rows that are scored with it.

        Args:
            rows: token ids [B][T]; no row is empty or longer than `max_length`.

        Raises:
            StageFailure: the memory does not suffice, or the engine died.
        """

    def rest(self) -> bool:
        return False

    def close(self) -> None:
        """Free the device."""
        return
