"""The shapes in which a JSON file holds a table: a list of rows, rows under a key, or columns as pandas writes them."""

from collections.abc import Mapping

from grao_pipeline.errors import InputError
from grao_pipeline.progress import Progress

ROW_KEYS = ("data", "rows", "records", "examples", "instances", "items", "samples", "train")


def rows_of_json(value: object, where: str, progress: Progress) -> list[object]:
    """The rows of the value of a whole JSON file. Any other object is one row.

    - `[{…}, …]`
    - `{"data": [{…}, …], "version": "1"}`; the other keys are left out, which a note says
    - `{"columns": […], "data": [[…], …]}`: pandas, `to_json(orient="split")`
    - `{"question": {"0": "a", …}, …}`: pandas, `to_json()`; by row with `orient="index"`
    - `{"question": ["a", …], …}`: lists of texts or numbers of equal length

    Raises:
        InputError: several keys hold rows, so that it is unknown which of them are meant.
    """
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping) or not value:
        return [value]
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        return [_named_cells(value["columns"], cells, where) for cells in value["data"]]
    keys = [key for key in ROW_KEYS if _are_rows(value.get(key))]
    splits = [key for key, rows in value.items() if key not in keys and _are_rows(rows) and keys]
    if len(keys) + len(splits) > 1:
        raise InputError(
            f"{where} holds several lists of rows: {', '.join([*keys, *splits])}. "
            "Write the list that you want to a file of its rows alone."
        )
    if keys:
        others = [key for key in value if key not in keys]
        if others:
            progress.note(f"{where}: the rows are under '{keys[0]}'; left out: {', '.join(others)}.")
        return [_unwrapped(row) for row in value[keys[0]]]
    return _rows_of_columns(value) or [value]


def _are_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _unwrapped(row: Mapping[str, object]) -> object:
    """A row as it is, or out of the envelope of the dataset viewer of Hugging Face."""
    return row["row"] if {"row_idx", "row"} <= row.keys() else row


def _named_cells(columns: list[object], cells: object, where: str) -> object:
    if not isinstance(cells, list) or len(cells) != len(columns):
        raise InputError(f"{where}: a row under 'data' does not have the {len(columns)} cells that 'columns' names.")
    return dict(zip(map(str, columns), cells, strict=True))


def _rows_of_columns(value: Mapping[str, object]) -> list[object]:
    """The rows of an object that holds columns; empty where it does not."""
    columns = list(value.values())
    if all(isinstance(column, Mapping) and column for column in columns):
        if all(key.isdigit() for key in value):
            return columns
        indices = [list(column) for column in columns if isinstance(column, Mapping)]
        if all(index == indices[0] and all(key.isdigit() for key in index) for index in indices):
            return [{name: column[key] for name, column in value.items()} for key in indices[0]]  # type: ignore[index]
    lengths = {len(column) for column in columns if isinstance(column, list)}
    is_flat = all(isinstance(column, list) and not any(map(_is_nested, column)) for column in columns)
    if is_flat and len(columns) > 1 and len(lengths) == 1:
        return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return []


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping | list)
