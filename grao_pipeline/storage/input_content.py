"""Which rows of its input tables an output was made from. `grao score --retry-errors` rewrites rows in place, under the
same fingerprint; what was made from the earlier rows must not pass for current.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from grao_pipeline.errors import MismatchError
from grao_pipeline.storage.manifest import Provenance

INPUT_CONTENT = "input_content"
"""Detail of a provenance: fingerprint of an input table → hash of its parts."""


class Table(Protocol):
    """What is asked of a table."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def content(self) -> str: ...


def input_content(tables: Iterable[Table]) -> dict[str, dict[str, str]]:
    """The detail of a provenance for these input tables.

    Example: `{"input_content": {"3f…": "9a…"}}`
    """
    return {INPUT_CONTENT: {table.fingerprint: table.content for table in tables}}


def has_other_rows(details: Mapping[str, object], current: Mapping[str, str]) -> bool:
    """Whether an output was made from other rows than its input tables have now.

    Args:
        details: of the provenance of the output.
        current: fingerprint of an input table → hash of its parts. One that the output does not name does not count.
    """
    before = details.get(INPUT_CONTENT)
    return isinstance(before, dict) and any(before.get(name, content) != content for name, content in current.items())


def refuse_other_rows(where: object, stored: Provenance | None, current: Provenance) -> None:
    """Check that what is in a place was made from the rows that the input tables have now.

    Args:
        stored: of what is there; None where there is nothing.

    Raises:
        MismatchError: it was made from other rows.
    """
    if stored is not None and has_other_rows(stored.details, current.details.get(INPUT_CONTENT, {})):
        raise MismatchError(
            f"{where} was made from scores or advantages that were rewritten since (e.g. by grao score "
            "--retry-errors). Choose another output directory, or delete this one to regenerate it."
        )
