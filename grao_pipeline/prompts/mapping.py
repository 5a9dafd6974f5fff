"""`--map column=field`: rename a source's columns before a row is read."""

from collections.abc import Iterable, Sequence

from grao_pipeline.errors import UsageError


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
        if column not in columns:
            raise UsageError(
                f"'{column}={field}': the source has no column '{column}'. Columns: {', '.join(columns)}.", option="map"
            )
        if field in columns and field not in mapping:
            raise UsageError(
                f"'{column}={field}': the source already has a column '{field}'. Rename that one too, "
                f"e.g. {field}=other.",
                option="map",
            )
