"""Rows of a table by their position, for those who look at a few of many: only the row groups around them are read.

A stage reads whole parts, verified by the checksums of the manifest (`reader.py`). Here Parquet's own page checksums
verify what is read. A table that is still being written can be read as well, as far as its parts are committed.
"""

import bisect
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq

from grao_pipeline.errors import DamagedPart, InputError
from grao_pipeline.schemas import TABLES, TableSchema
from grao_pipeline.storage.arrow_errors import arrow_errors
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import METADATA_KEY, Provenance
from grao_pipeline.storage.manifest_file import part_files, read_manifest
from grao_pipeline.storage.parquet import read_provenance
from grao_pipeline.storage.validation import checked, conform

OPEN_FILES = 64
"""Parquet footers that are remembered."""


@dataclass(frozen=True)
class PartRows:
    """A file of a table and its number of rows."""

    name: str
    rows: int


class RowAccess:
    """The committed rows of one table; `open_rows` makes one.

    Attributes:
        parts: in order.
        provenance: None for a table of other software.
        is_complete: whether no more parts will come.
    """

    def __init__(
        self,
        directory: Directory,
        schema: TableSchema,
        parts: Sequence[PartRows],
        provenance: Provenance | None,
        is_complete: bool,
    ) -> None:
        self._directory = directory
        self.schema = schema
        self.parts = tuple(parts)
        self.provenance = provenance
        self.is_complete = is_complete
        self._ends = list(accumulate(part.rows for part in self.parts))
        self._lock = Lock()
        self._open = lru_cache(OPEN_FILES if directory.is_local else 1)(self._open_part)

    @property
    def url(self) -> str:
        return self._directory.url

    @property
    def num_rows(self) -> int:
        return self._ends[-1] if self._ends else 0

    def part_named(self, name: str) -> int | None:
        """The number of the part of this file name; None where it does not exist."""
        return next((index for index, part in enumerate(self.parts) if part.name == name), None)

    def rows(self, start: int, stop: int, columns: Sequence[str]) -> pa.Table:
        """The rows at the positions `start` … `stop` − 1, as far as there are any.

        Raises:
            DamagedPart: a file is not what was written.
        """
        pieces = []
        index = bisect.bisect_right(self._ends, max(start, 0))
        while index < len(self.parts) and self.starts_at(index) < stop:
            first = self.starts_at(index)
            pieces.append(self.part(index, columns, max(start - first, 0), stop - first))
            index += 1
        empty = pa.Table.from_batches([], self.schema.arrow()).select(list(columns))
        return pa.concat_tables(pieces) if pieces else empty

    def starts_at(self, index: int) -> int:
        """The position of the first row of part `index`."""
        return self._ends[index - 1] if index else 0

    def part(self, index: int, columns: Sequence[str], start: int = 0, stop: int | None = None) -> pa.Table:
        """Rows of part `index`: those from `start` to `stop` within it, by default all.

        Raises:
            DamagedPart: the file is not what was written.
            SchemaError: a row of other software breaks the contract.
        """
        entry = self.parts[index]
        stop = entry.rows if stop is None else min(stop, entry.rows)
        where = self._directory.path(entry.name)
        with self._lock, _reading(where):
            file = self._open(entry.name)
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
            first, last, begin = _groups_around(sizes, start, stop)
            is_foreign = self.provenance is None
            present = None if is_foreign else [name for name in columns if name in file.schema_arrow.names]
            table = file.read_row_groups(list(range(first, last)), columns=present, use_threads=False)
        table = table.replace_schema_metadata(None).slice(start - begin, max(stop - start, 0))
        if is_foreign:
            return checked(table, self.schema, where).select(list(columns))
        narrow = TableSchema(self.schema.name, tuple(self.schema.column(name) for name in columns))
        return conform(table, narrow, where)

    def _open_part(self, name: str) -> pq.ParquetFile:
        path = self._directory.path(name)
        source = path if self._directory.is_local else pa.BufferReader(self._directory.read(name))
        return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)


def open_rows(url: str, kind: str | None = None, known: RowAccess | None = None) -> RowAccess:
    """Open a table, complete or not.

    Args:
        kind: of a table of other software, e.g. `groups`.
        known: the same table as it was before: committed parts do not change.

    Raises:
        InputError: there is no table, or its kind is not known.
        DamagedPart: its manifest or a file is damaged.
    """
    is_file = url.endswith(".parquet") and not Directory(url).names()
    directory = Directory(url.rpartition("/")[0] or ".") if is_file else Directory(url)
    manifest = None if is_file else read_manifest(directory)
    if manifest is not None:
        if manifest.provenance.table not in TABLES:
            raise InputError(f"{url} is not a table: it holds a {manifest.provenance.table}.")
        parts = [PartRows(entry.name, entry.rows) for entry in manifest.parts]
        return RowAccess(directory, TABLES[manifest.provenance.table], parts, manifest.provenance, True)
    names = [url.rpartition("/")[2]] if is_file else part_files(directory)
    if not names:
        raise InputError(f"{url} does not exist or holds no Parquet file. Give a table, or a Parquet file of one.")
    return _open_without_manifest(directory, names, kind, known)


def _open_without_manifest(
    directory: Directory, names: Sequence[str], kind: str | None, known: RowAccess | None
) -> RowAccess:
    """A table of ours that is being written, or one of other software."""
    earlier = {part.name: part for part in known.parts} if known else {}
    parts = []
    provenance = known.provenance if known else None
    for number, name in enumerate(names):
        if name in earlier:
            parts.append(earlier[name])
            continue
        where = directory.path(name)
        with _reading(where):
            source = where if directory.is_local else pa.BufferReader(directory.read(name))
            footer = pq.read_metadata(source)
        parts.append(PartRows(name, footer.num_rows))
        if number == 0 and METADATA_KEY in (footer.metadata or {}):
            provenance = read_provenance(directory.read(name), where)
    if provenance is None and kind is None:
        raise InputError(f"{directory.url} has Parquet files of other software; name the kind of table.")
    return RowAccess(
        directory, TABLES[provenance.table if provenance else str(kind)], parts, provenance, not provenance
    )


def _reading(where: str) -> AbstractContextManager[None]:
    return arrow_errors(where, lambda reason: DamagedPart(f"{where} is damaged: {reason}."))


def _groups_around(sizes: Sequence[int], start: int, stop: int) -> tuple[int, int, int]:
    """(first row group, one after the last, position of the first row of the first) around the rows of a file."""
    ends = list(accumulate(sizes))
    first = bisect.bisect_right(ends, start)
    last = bisect.bisect_left(ends, stop) + 1 if stop > start else first
    return first, min(last, len(sizes)), ends[first - 1] if first else 0
