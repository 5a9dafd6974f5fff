"""JSON, JSON Lines and CSV files → rows, with every value exactly as it is written.

These files are not read through `datasets`, because it guesses types from other rows: a column of ISO dates becomes
timestamps, "007" in a CSV file becomes 7, "12" in a mixed column becomes 12. That would damage prompts and answers.
Reading the files here also lets messages name the line of a mistake.
"""

import bz2
import csv
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from grao_pipeline.errors import InputError
from grao_pipeline.progress import Progress
from grao_pipeline.prompts.csv_dialects import SAMPLE_LINES, Dialect, dialect_of
from grao_pipeline.prompts.json_shapes import rows_of_json

Row = dict[str, Any]
Rows = Generator[Row, None, None]

COMPRESSIONS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
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
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.isspace():
                yield _json_object(line, f"{path}, line {number}")


def _read_json(path: Path, progress: Progress) -> Rows:
    """A list of objects, an object in one of the shapes of `json_shapes`, or (common, in spite of the ending) JSON
    Lines."""
    with _open(path) as file:
        text = file.read()
    try:
        value = json.loads(text, parse_constant=_constant) if text.strip() else []
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise InputError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}).") from error
        yield from _read_json_lines(path)
        return
    for index, item in enumerate(rows_of_json(value, str(path), progress)):
        yield _object(item, f"{path}, element {index}")


def _read_csv(path: Path, delimiter: str, progress: Progress) -> Rows:
    """Every cell is text; an empty cell is null."""
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is too small for long documents
    dialect = _sniffed(path, delimiter, progress)
    with _open(path, newline="") as file:
        reader = csv.reader(file, delimiter=dialect.delimiter, skipinitialspace=dialect.skips_first_space, strict=True)
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
    with _open(path, newline="") as file:
        lines = [line for _, line in zip(range(SAMPLE_LINES), file, strict=False)]
    dialect = dialect_of(lines, delimiter)
    if dialect.delimiter != delimiter:
        progress.note(f"{path.name}: its cells are separated by {dialect.delimiter_name}.")
    if dialect.skips_first_space:
        progress.note(f"{path.name}: the spaces after its separators are not part of the cells.")
    return dialect


def _json_object(line: str, where: str) -> Row:
    try:
        value = json.loads(line, parse_constant=_constant)
    except ValueError as error:  # a JSONDecodeError, or a number with thousands of digits
        message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{where}: not valid JSON ({message}): {line.strip():.60}") from error
    return _object(value, where)


def _constant(name: str) -> float | None:
    """The value of NaN, by which pandas writes a null, or of an infinity, neither of which JSON has."""
    return None if name == "NaN" else float(name)


def _object(value: object, where: str) -> Row:
    if not isinstance(value, dict):
        raise InputError(f"{where}: a row must be a JSON object, found a {type(value).__name__}.")
    return value


@contextmanager
def _open(path: Path, newline: str = "\n") -> Iterator[TextIO]:
    opener = COMPRESSIONS.get(path.suffix.lower(), open)
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline=newline) as file:
            yield cast(TextIO, file)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}).") from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"Cannot read {path}: its compressed data is damaged ({error}).") from error
