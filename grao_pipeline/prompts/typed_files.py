"""Parquet and Arrow files → rows. Every file is read by its own schema, so that the files of a source may differ."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from grao_pipeline.errors import InputError
from grao_pipeline.files import check_file
from grao_pipeline.progress import Progress
from grao_pipeline.prompts.canonical import without_nan
from grao_pipeline.prompts.text_files import Row, Rows
from grao_pipeline.storage.arrow_errors import arrow_errors

BATCH_ROWS = 1000
TYPED_ENDINGS = (".parquet", ".arrow")
PANDAS_INDEX = re.compile(r"__index_level_\d+__")
"""A column that pandas adds; it is the position of a row, which is not part of it."""


def read_typed_files(paths: list[Path], progress: Progress) -> Rows:
    """The rows of Parquet or Arrow files, one file after another.

    Columns of bytes (images, audio) are left out with a warning: neither a prompt nor JSON can hold them.

    Raises:
        InputError: a file is damaged.
    """
    warned: set[str] = set()
    for path in paths:
        check_file(path)
        with arrow_errors(str(path), partial(_cannot_load, path)):
            for batch in _batches(path):
                yield from rows_of_batch(batch, progress, warned)


def rows_of_batch(batch: pa.RecordBatch, progress: Progress, warned: set[str]) -> list[Row]:
    """The rows of a batch, without columns of bytes and pandas' index.

    Args:
        warned: the columns of bytes that a warning has named; gets those that this one names.
    """
    names = [field.name for field in batch.schema if not PANDAS_INDEX.fullmatch(field.name)]
    binary = [name for name in names if holds_bytes(batch.schema.field(name).type)]
    if set(binary) - warned:
        progress.warn(f"Ignoring columns of binary data: {', '.join(binary)}.")
        warned.update(binary)
    rows: list[dict[str, Any]] = batch.select([name for name in names if name not in binary]).to_pylist()
    floats = [name for name in names if has_type(batch.schema.field(name).type, pa.types.is_floating)]
    return [row | {name: without_nan(row[name]) for name in floats if name in row} for row in rows] if floats else rows


def _cannot_load(path: Path, reason: str) -> InputError:
    return InputError(f"Cannot load {path}: {reason}.")


def holds_bytes(type_: pa.DataType) -> bool:
    """Whether a type is bytes, or has bytes in it."""
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(has_type(type_, is_kind) for is_kind in kinds)


def has_type(type_: pa.DataType, is_kind: Callable[[pa.DataType], bool]) -> bool:
    """Whether a type is of a kind, or has such a type in it."""
    if is_kind(type_):
        return True
    if pa.types.is_dictionary(type_):
        return has_type(type_.value_type, is_kind)
    return any(has_type(type_.field(index).type, is_kind) for index in range(type_.num_fields))


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix.lower() == ".parquet":
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(BATCH_ROWS)
        return
    # Mapped: a damaged length is then beyond the end of the file, rather than that much memory.
    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
        except pa.ArrowInvalid:  # the format of `datasets`, a stream without an index at its end
            source.seek(0)
            for batch in pa.ipc.open_stream(source):
                yield from _slices(batch)
            return
        for index in range(reader.num_record_batches):
            yield from _slices(reader.get_batch(index))


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch of an Arrow file, which may be the whole file. What it says of itself is checked: a damaged offset would
    be followed anywhere."""
    batch.validate(full=True)
    return (batch.slice(start, BATCH_ROWS) for start in range(0, batch.num_rows, BATCH_ROWS))
