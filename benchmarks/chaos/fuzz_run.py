"""A command on a malformed input, and what must hold of its output if it is not refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


def nothing_wrong() -> str | None:
    """No claim about the output."""
    return None


@dataclass(frozen=True)
class Run:
    """A command on a malformed input.

    Attributes:
        what: the row of the table, e.g. `source → prompts`.
        arguments: of `grao`.
        instead: what the command does, where it would not end by itself.
        check: what is wrong with its output where it ended well; None where nothing is.
    """

    what: str
    arguments: Sequence[object]
    check: Callable[[], str | None] = nothing_wrong
    instead: Callable[[], object] | None = None
