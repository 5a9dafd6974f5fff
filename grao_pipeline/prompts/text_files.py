"""JSON, JSON Lines and CSV files → rows, with every value exactly as it is written.

These files are not read through `datasets`, because it guesses types from other rows: a column of ISO dates becomes
timestamps, "007" in a CSV file becomes 7, "12" in a mixed column becomes 12. That would damage prompts and answers.
Reading the files here also lets messages name the line of a mistake.
"""

import csv
from collections.abc import Generator
from itertools import islice
from pathlib import Path
from typing import Any

from grao_pipeline.errors import InputError
from grao_pipeline.json_text import InvalidJson, parse_json
from grao_pipeline.progress import Progress
from grao_pipeline.prompts.compression import COMPRESSIONS, LONGEST_LINE, open_text
from grao_pipeline.prompts.csv_dialects import SAMPLE_LINES, Dialect, dialect_of
from grao_pipeline.prompts.json_shapes import rows_of_json

Row = dict[str, Any]
Rows = Generator[Row, None, None]

DELIMITERS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (".jsonl", ".ndjson", ".json", *DELIMITERS)


def ending(path: Path) -> str:
    """The suffix of the format, without the suffix of the compression: `a.jsonl.gz` → `.jsonl`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_text_file(path: Path, progress: Progress) -> Rows:
    """The rows of one file whose ending is one of `ENDINGS`, possibly compressed.

    Raises:
        InputError: the file cannot be read; the message names the file, and the line if one is wrong.
    """
    if ending(path) in DELIMITERS:
        return _read_csv(path, DELIMITERS[ending(path)], progress)
    return _read_json(path, progress) if ending(path) == ".json" else _read_json_lines(path)


def _read_json_lines(path: Path) -> Rows:
    with open_text(path) as text:
        for number, line in enumerate(text.lines(), start=1):
            if not line.isspace():
                yield _json_object(line, f"{path}, line {number}")


def _read_json(path: Path, progress: Progress) -> Rows:
    """A list of objects, an object in one of the shapes of `json_shapes`, or (common, in spite of the ending) JSON
    Lines."""
    with open_text(path) as file:
        text = file.whole()
    try:
        value = parse_json(text, keep_infinity=True) if text.strip() else []
    except InvalidJson as error:
        if not str(error).startswith("Extra data"):
            where = f"{path}, line {error.line}" if error.line else f"{path}"
            raise InputError(f"{where}: not valid JSON ({error}).") from error
        yield from _read_json_lines(path)
        return
    for index, item in enumerate(rows_of_json(value, str(path), progress)):
        yield _object(item, f"{path}, element {index}")


def _read_csv(path: Path, delimiter: str, progress: Progress) -> Rows:
    """Every cell is text; an empty cell is null."""
    csv.field_size_limit(LONGEST_LINE)  # the default of 128 KiB is too small for long documents
    dialect = _sniffed(path, delimiter, progress)
    with open_text(path, newline="") as text:
        reader = csv.reader(
            text.lines(), delimiter=dialect.delimiter, skipinitialspace=dialect.skips_first_space, strict=True
        )
        try:
            columns = next(reader, [])
            if len(set(columns)) < len(columns):
                raise InputError(f"{path}: two columns have the same name ({', '.join(columns)}).")
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(columns):
                    raise InputError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells where the header has {len(columns)}."
                    )
                yield {column: cell or None for column, cell in zip(columns, cells, strict=True)}
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from error


def _sniffed(path: Path, delimiter: str, progress: Progress) -> Dialect:
    with open_text(path, newline="") as text:
        lines = list(islice(text.lines(), SAMPLE_LINES))
    dialect = dialect_of(lines, delimiter)
    if dialect.delimiter != delimiter:
        progress.note(f"{path.name}: its cells are separated by {dialect.delimiter_name}.")
    if dialect.skips_first_space:
        progress.note(f"{path.name}: the spaces after its separators are not part of the cells.")
    return dialect


def _json_object(line: str, where: str) -> Row:
    try:
        value = parse_json(line, keep_infinity=True)
    except InvalidJson as error:
        raise InputError(f"{where}: not valid JSON ({error}): {line.strip():.60}") from error
    return _object(value, where)


def _object(value: object, where: str) -> Row:
    if not isinstance(value, dict):
        raise InputError(f"{where}: a row must be a JSON object, found a {type(value).__name__}.")
    return value
