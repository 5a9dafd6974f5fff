"""The classifier seam of reward models: rows of token ids in, the logits of each out."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


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
    """Longest row that is asked for, in tokens; None for whatever the model reads."""
    batch_size: int
    arguments: Mapping[str, str]
    """Further arguments of the engine."""


class Classifier(Protocol):
    """A sequence classifier with its weights in memory. Constructed as `Classifier(options)`."""

    @property
    def max_length(self) -> int | None:
        """The longest row that it reads, in tokens; None where nothing bounds it."""
        ...

    def logits(self, rows: Sequence[Sequence[int]]) -> Generator[tuple[int, list[float]], None, None]:
        """The index of each row and its logits [num_labels], in whatever order they become known.

        A row's logits are those of the row alone, whatever is scored beside it.

        Args:
            rows: token ids [B][T], none empty, none longer than `max_length`.

        Raises:
            StageFailure: the memory does not suffice, or the engine died.
        """
        ...
