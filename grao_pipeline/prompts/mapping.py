"""`--map column=field`: rename a source's columns before a format is applied."""

from collections.abc import Iterable, Sequence

from grao_pipeline.errors import UsageError


def parse_mapping(entries: Iterable[str]) -> dict[str, str]:
    """`["instruction=prompt"]` → `{"instruction": "prompt"}`.

    Raises:
        UsageError: an entry is not column=field, or two rename one column or give one name.
    """
    mapping: dict[str, str] = {}
    for entry in entries:
        column, equals, field = (part.strip() for part in entry.partition("="))
        if not (column and equals and field):
            raise UsageError(f"--map '{entry}' is not of the form column=field, e.g. instruction=prompt.")
        if column in mapping or field in mapping.values():
            raise UsageError(f"--map '{entry}': an earlier --map already names '{column}' or '{field}'.")
        mapping[column] = field
    return mapping


def check_mapping(mapping: dict[str, str], columns: Sequence[str]) -> None:
    """Check a mapping against the columns of the source.

    Raises:
        UsageError: a column does not exist, or its new name is that of another column.
    """
    for column, field in mapping.items():
        if column not in columns:
            raise UsageError(f"--map '{column}={field}': there is no column '{column}'. Columns: {', '.join(columns)}.")
        if field in columns and field not in mapping:
            raise UsageError(
                f"--map '{column}={field}': there is already a column '{field}'. Rename it too, "
                f"e.g. --map {field}=other."
            )
