"""The file of an export, Parquet or JSON lines by its ending: written row by row, then moved to its place."""

import glob
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from grao_pipeline.checksums import file_checksum
from grao_pipeline.contract import Row
from grao_pipeline.errors import MismatchError, UsageError
from grao_pipeline.storage.atomic import locked_temporary, remove_abandoned, sync
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.outside_errors import refused

METADATA_KEY = b"grao.export"
"""Key of the provenance in the metadata of a Parquet file."""
ENDINGS = (".parquet", ".jsonl")


class RowWriter(Protocol):
    """Writes rows to the file of an export."""

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        ...


class _ParquetRows:
    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema

    def write(self, rows: Sequence[Row]) -> None:
        self._writer.write_table(pa.Table.from_pylist(list(rows), schema=self._schema))


class _JsonRows:
    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._file.write(json.dumps(without_nulls(row), ensure_ascii=False, allow_nan=False) + "\n")


def without_nulls(row: Row) -> Row:
    """A row without the columns that are null."""
    return {name: value for name, value in row.items() if value is not None}


def check_ending(out: str) -> None:
    """Refuse an OUT whose format is unknown.

    Raises:
        UsageError: it ends in neither `.parquet` nor `.jsonl`.
    """
    if not out.endswith(ENDINGS):
        raise UsageError(f"OUT {out}: an export is one file whose name ends in {' or '.join(ENDINGS)}.")


@contextmanager
def new_file(out: str) -> Iterator[Path]:
    """A temporary local file, in the folder of OUT where that is local, which is made; the file is gone afterwards, and
    so are those of exports that were killed.

    Raises:
        InputError: it cannot be written.
    """
    parent = os.path.dirname(out) or "."
    directory = Directory(parent)
    directory.try_writing()
    folder, name = Path(parent if directory.is_local else tempfile.gettempdir()), os.path.basename(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for abandoned in folder.glob(f".{glob.escape(name)}.*.tmp"):
            remove_abandoned(abandoned)
        with locked_temporary(folder / name) as file:
            yield Path(file.name)
    except OSError as error:
        raise refused("write", out, error) from error


@contextmanager
def row_writer(path: Path, out: str, schema: pa.Schema, provenance: str) -> Iterator[RowWriter]:
    """Writes rows to a temporary file in the format that the ending of OUT names.

    Args:
        provenance: JSON, for the metadata of Parquet.
    """
    if out.endswith(".jsonl"):
        with path.open("w", encoding="utf-8") as file:
            yield _JsonRows(file)
        return
    with pq.ParquetWriter(path, schema.with_metadata({METADATA_KEY: provenance.encode()}), compression="zstd") as file:
        yield _ParquetRows(file, schema)


def move_in(path: Path, out: str, overwrite: bool) -> bool:
    """Move a finished file to OUT.

    Returns:
        whether OUT was the same already.

    Raises:
        MismatchError: OUT holds something else, and is not to be replaced.
        InputError: it cannot be written.
    """
    parent, name = os.path.dirname(out) or ".", os.path.basename(out)
    directory = Directory(parent)
    if directory.exists(name):
        if _is_same(path, out, directory, name):
            return True
        if not overwrite:
            raise MismatchError(f"{out} exists and holds something else. Choose another file, or give --overwrite.")
    if directory.is_local:
        sync(path)
        path.replace(out)
    else:
        directory.write(name, path.read_bytes())
    return False


def _is_same(path: Path, out: str, directory: Directory, name: str) -> bool:
    if directory.is_local:
        return Path(out).is_file() and file_checksum(path) == file_checksum(Path(out))
    return directory.read(name) == path.read_bytes()
