"""`--map column=field`: rename a source's columns before a row is read."""

from collections.abc import Iterable, Mapping, Sequence

from grao_pipeline.errors import UsageError
from grao_pipeline.options import closest
from grao_pipeline.prompts.base import Row


def parse_mapping(entries: Iterable[str]) -> dict[str, str]:
    """`["instruction=prompt"]` → `{"instruction": "prompt"}`.

    Raises:
        UsageError: an entry is not column=field, or two entries have the same column or the same field.
    """
    mapping: dict[str, str] = {}
    for entry in entries:
        column, equals, field = (part.strip() for part in entry.partition("="))
        if not (column and equals and field):
            raise UsageError(f"expected column=field, e.g. instruction=prompt, found '{entry}'.", option="map")
        if column in mapping or field in mapping.values():
            raise UsageError(f"'{entry}': an earlier entry already has '{column}' or '{field}'.", option="map")
        mapping[column] = field
    return mapping


def check_mapping(mapping: dict[str, str], columns: Sequence[str]) -> None:
    """Check a mapping against the columns of the source.

    Raises:
        UsageError: a column does not exist, or its new name is the name of another column.
    """
    for column, field in mapping.items():
        if column not in columns and column.partition(".")[0] not in columns:
            raise UsageError(
                f"'{column}={field}': the source has no column '{column}'.{closest(column, columns)} "
                f"Columns: {', '.join(columns)}.",
                option="map",
            )
        if field in columns and field not in mapping:
            raise UsageError(
                f"'{column}={field}': the source already has a column '{field}'. Rename that one too, "
                f"e.g. {field}=other.",
                option="map",
            )


def by_field(row: Row, mapping: Mapping[str, str]) -> dict[str, object]:
    """A row by field. A dotted column that the row does not have is a copy of a nested value, or null.

    Example: `by_field({"a": {"b": 1}}, {"a.b": "answer"})` → `{"a": {"b": 1}, "answer": 1}`
    """
    fields: dict[str, object] = {mapping.get(column, column): value for column, value in row.items()}
    for column, field in mapping.items():
        if column not in row and "." in column:
            fields[field] = _nested(row, column)
    return fields


def is_copy(column: str, columns: Sequence[str]) -> bool:
    """Whether a column of a mapping names a nested value."""
    return column not in columns and "." in column


def _nested(row: Row, path: str) -> object:
    """The value at `reward_model.ground_truth`; a number is an index of a list."""
    value: object = row
    for key in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value
