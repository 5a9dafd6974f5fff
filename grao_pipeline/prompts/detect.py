"""Choosing the format of a source."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from grao_pipeline.errors import UsageError
from grao_pipeline.options import closest
from grao_pipeline.plugins import load
from grao_pipeline.prompts.base import PromptFormat, Row
from grao_pipeline.prompts.column_names import common_other_names, same_but_for_spelling, similar_names
from grao_pipeline.prompts.custom import custom_format
from grao_pipeline.prompts.formats import FORMATS
from grao_pipeline.prompts.other_data import advice_on

GENERAL_FIELDS = ("tools", "functions", "system", "label")
"""Fields that are read whatever the format is, or that tell one format from another."""


@dataclass(frozen=True)
class Choice:
    """A format, and how its fields are read.

    Attributes:
        read_as: column → field of the format, where their names differ.
    """

    format: PromptFormat
    read_as: Mapping[str, str]


def format_named(name: str) -> PromptFormat:
    """A built-in format, that of an installed package, or `module:function`.

    Raises:
        UsageError: there is no such format.
    """
    plugin = load("format", name, FORMATS)
    return plugin if isinstance(plugin, PromptFormat) else custom_format(name, plugin)


def choose_format(name: str, given: Mapping[str, str], rows: Iterable[Row]) -> Choice:
    """The format called `name`; for `auto`, the only one that fits the columns and the values of the first rows.

    Names of columns may differ from the format's in case and spaces. For `auto` they may be common other names, where
    these leave no doubt.

    Args:
        given: the source's column → the name under which the rows have it.

    Raises:
        UsageError: no format fits, several fit, or the source lacks a column that the named format needs.
    """
    columns = list(given.values())
    if name != "auto":
        return _named(name, given)
    formats = [format_named(known) for known in FORMATS]
    spelled = same_but_for_spelling(columns, _fields(formats))
    sample = _sample(columns, rows)
    choice = _fitting(formats, sample, spelled)
    advice = advice_on(_renamed(sample, spelled), choice.format.name if choice else "")
    if advice:
        raise UsageError(f"{advice} Columns: {', '.join(columns)}.")
    if choice is not None:
        return choice
    readings = [_fitting(formats, sample, spelled | names) for names in common_other_names(columns)]
    usable = [reading for reading in readings if reading is not None]
    if len(usable) == 1:
        return usable[0]
    misspelled = None
    with suppress(UsageError):  # of a suggestion that fits several formats
        misspelled = _fitting(formats, sample, spelled | similar_names(columns, _fields(formats)))
    usable += [misspelled] if misspelled is not None and not usable else []
    tips = "".join(f"\nDo you mean {_as_options(reading.read_as, given)}?" for reading in usable)
    raise UsageError(f"The columns fit no format. {_help(columns, formats)}{tips}")


def _named(name: str, given: Mapping[str, str]) -> Choice:
    chosen, columns = format_named(name), list(given.values())
    fields = {*chosen.columns, *chosen.optional, *GENERAL_FIELDS}
    spelled = same_but_for_spelling(columns, fields)
    readable = {spelled.get(column, column) for column in columns}
    missing = [field for field in chosen.columns if field not in readable]
    if not missing:
        return Choice(chosen, _used(chosen, spelled))
    readings = [names for names in common_other_names(columns) if missing[0] in names.values()]
    names = next(iter(readings), similar_names(columns, [missing[0]]))
    advice = f" Do you mean {_as_options(names, given)}?" if names else closest(missing[0], columns)
    raise UsageError(f"'{name}' needs a column '{missing[0]}'.{advice} {_help(columns, [chosen])}", option="format")


def _fitting(formats: list[PromptFormat], sample: Row, names: Mapping[str, str]) -> Choice | None:
    """The format that fits under these names, if any does.

    Raises:
        UsageError: several fit.
    """
    row = _renamed(sample, names)
    fitting = [format_ for format_ in formats if format_.fits(row)]
    beaten = {other for format_ in fitting for other in format_.over}
    fitting = [format_ for format_ in fitting if format_.name not in beaten]
    if len(fitting) > 1:
        help_ = _help(list(sample), fitting)
        raise UsageError(f"The columns fit several formats. Choose one with --format. {help_}")
    return Choice(fitting[0], _used(fitting[0], names)) if fitting else None


def _used(chosen: PromptFormat, names: Mapping[str, str]) -> dict[str, str]:
    fields = {*chosen.columns, *chosen.optional, *GENERAL_FIELDS}
    return {column: field for column, field in names.items() if field in fields and column != field}


def _fields(formats: Iterable[PromptFormat]) -> set[str]:
    return {field for format_ in formats for field in (*format_.columns, *format_.optional, *GENERAL_FIELDS)}


def _sample(columns: list[str], rows: Iterable[Row]) -> Row:
    """The first value of every column that is not null."""
    sample = dict.fromkeys(columns)
    for row in rows:
        sample.update((column, value) for column, value in row.items() if sample[column] is None)
    return sample


def _renamed(sample: Row, names: Mapping[str, str]) -> Row:
    return {names.get(column, column): value for column, value in sample.items()}


def _as_options(names: Mapping[str, str], given: Mapping[str, str]) -> str:
    of_source = {name: column for column, name in given.items()}
    renamed = {of_source[name]: field for name, field in names.items() if name != field}
    return " ".join(f"--map {_quoted(f'{column}={field}')}" for column, field in renamed.items())


def _quoted(word: str) -> str:
    return f"'{word}'" if " " in word else word


def _help(columns: list[str], formats: Iterable[PromptFormat]) -> str:
    shapes = "".join(f"\n  {format_.name}: {format_.shape}" for format_ in formats)
    return f"Columns: {', '.join(columns)}.{shapes}\nRename columns with --map column=field."
