"""The seam of the formats: a pure function from a row to one prompt, or to the reason why the row is dropped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
"""A turn, as `grao_pipeline.messages` says."""
Row = Mapping[str, Any]


class DroppedRow(Exception):
    """A row that cannot be used. Its text is the reason, under which the row is counted."""


@dataclass(frozen=True)
class Prompt:
    """A row of a source, as a format understands it.

    Example: `Prompt([{"role": "user", "content": "2+2?"}], "2+2 is 4", None, {"answer": "4"})`
    """

    messages: list[Message]
    reference: str | None
    rejected: str | None
    metadata: dict[str, Any]
    tools: str | None = None
    """JSON schemas of the tools: a JSON list."""
    reference_reasoning: str | None = None
    lost: frozenset[str] = frozenset()
    """What of the row no column of the prompts table can hold, e.g. `refusal of a turn`."""


@dataclass(frozen=True)
class PromptFormat:
    """A format: its name, what its rows look like, and its function.

    Attributes:
        columns: the columns that it needs.
        shape: one line by which a person recognizes the format.
        fits: whether a source has this format, given the first non-null value of every column (None: all are null).
        convert: a row → its prompt; raises DroppedRow. Every column of the source is a key of the row.
        optional: further columns that it reads where they exist.
        over: formats that fit as well where this one fits, and that say less about the rows.
        pairs_rows: a prompt may have several rows, one per answer: a reference or a rejected answer.
    """

    name: str
    columns: tuple[str, ...]
    shape: str
    fits: Callable[[Row], bool]
    convert: Callable[[Row], Prompt]
    optional: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    pairs_rows: bool = False

    @property
    def summary(self) -> str:
        """The shape as a sentence."""
        return f"{self.shape.rstrip('.')}."


def rest(row: Row, *used: str) -> dict[str, object]:
    """The columns that a format does not use; they become the prompt's metadata."""
    return {name: value for name, value in row.items() if name not in used}


def filled(answer: str) -> str:
    """`answer`, unless it is blank.

    Raises:
        DroppedRow: it is blank; a blank reference teaches nothing.
    """
    if not answer.strip():
        raise DroppedRow("the reference is empty")
    return answer


def filled_or_none(answer: str | None) -> str | None:
    """`answer`, or None if it is blank: a rejected answer is optional."""
    return answer if answer and answer.strip() else None
