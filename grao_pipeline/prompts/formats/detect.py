"""Choosing the format of a source."""

from collections.abc import Iterable

from grao_pipeline.errors import UsageError
from grao_pipeline.prompts.base import PromptFormat, Row
from grao_pipeline.prompts.formats import FORMATS


def choose_format(name: str, columns: list[str], rows: Iterable[Row]) -> PromptFormat:
    """The format called `name`; for `auto`, the only one that fits the columns and the values of the first rows.

    Raises:
        UsageError: no format fits, several fit, or the source lacks a column that the named format needs.
    """
    if name != "auto":
        chosen = FORMATS[name]
        missing = [column for column in chosen.columns if column not in columns]
        if missing:
            raise UsageError(f"'{name}' needs a column '{missing[0]}'. {_help(columns, [name])}", option="format")
        return chosen
    sample = dict.fromkeys(columns)
    for row in rows:
        sample.update((column, value) for column, value in row.items() if sample[column] is None)
    fitting = [format_ for format_ in FORMATS.values() if format_.fits(sample)]
    if not fitting:
        raise UsageError(f"The columns fit no format. {_help(columns, list(FORMATS))}")
    if len(fitting) > 1:
        names = [format_.name for format_ in fitting]
        raise UsageError(f"The columns fit several formats. Choose one with --format. {_help(columns, names)}")
    return fitting[0]


def _help(columns: list[str], names: list[str]) -> str:
    shapes = "".join(f"\n  {name}: {FORMATS[name].shape}" for name in names)
    return f"Columns: {', '.join(columns)}.{shapes}\nRename columns with --map column=field."
