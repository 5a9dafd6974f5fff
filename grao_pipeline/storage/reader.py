"""Reading tables: every byte that is used is first verified against the manifest."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from grao_pipeline.checksums import bytes_checksum
from grao_pipeline.contract import CONTRACT_VERSION
from grao_pipeline.errors import DamagedPart, InputError, MismatchError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.plugins import require
from grao_pipeline.schemas import TABLES, TableSchema
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.frames import read_frame
from grao_pipeline.storage.manifest import Manifest, PartEntry, Provenance
from grao_pipeline.storage.manifest_file import MANIFEST, has_manifest, part_files, read_manifest, table_of_kind
from grao_pipeline.storage.parquet import count_rows, decode, read_provenance
from grao_pipeline.storage.validation import checked, conform, refuse_repeats

if TYPE_CHECKING:
    import datasets
    import polars as pl

Content = TypeVar("Content")
BYTES_AT_ONCE = 32 << 20
"""Of files that are decoded together."""


class TableReader:
    """A complete table, read part by part. `open_table` makes one."""

    def __init__(self, directory: Directory, schema: TableSchema, manifest: Manifest, foreign: bool) -> None:
        self._directory = directory
        self.schema = schema
        self.manifest = manifest
        self.foreign = foreign

    @property
    def url(self) -> str:
        return self._directory.url

    @property
    def fingerprint(self) -> str:
        return self.manifest.provenance.fingerprint

    @property
    def provenance(self) -> Provenance:
        return self.manifest.provenance

    @property
    def content(self) -> str:
        """A hash of the bytes of all parts: another one where parts were rewritten under the same fingerprint."""
        return self.manifest.content

    @property
    def num_parts(self) -> int:
        return len(self.manifest.parts)

    @property
    def num_rows(self) -> int:
        return self.manifest.num_rows

    def part(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Part `index` as an Arrow table, its checksum verified.

        Raises:
            DamagedPart: the bytes are not the ones that were committed.
            SchemaError: a foreign part does not follow the contract.
        """
        entry = self.manifest.parts[index]
        where = self._directory.path(entry.name)
        data = self._verified_bytes(entry)
        wanted = list(columns) if columns is not None else [column.name for column in self.schema.columns]
        if not self.foreign and self.provenance.contract == CONTRACT_VERSION:
            return decode(data, where, wanted)
        as_it_must_be = checked if self.foreign else conform
        return as_it_must_be(decode(data, where), self.schema, where).select(wanted)

    def frame(self, parts: range, columns: Sequence[str]) -> "pl.DataFrame":
        """Consecutive parts as one Polars frame, their checksums verified; five times faster where parts are small.

        Raises:
            DamagedPart: the bytes of a part are not the ones that were committed.
            SchemaError: a foreign part does not follow the contract.
        """
        import polars as pl

        if self.foreign or self.provenance.contract != CONTRACT_VERSION or not parts:
            return pl.DataFrame(pl.from_arrow(self.arrow(columns, parts)))
        frames = []
        for batch in self.batches(parts):
            entries = [self.manifest.parts[index] for index in batch]
            frames.append(read_frame(self._directory, entries, columns, self._verified_bytes, self._verify))
        return pl.concat(frames)

    def batches(self, within: range | None = None) -> Iterator[range]:
        """Consecutive parts, by default of all, whose files have about as many bytes together; see `frame`."""
        within = range(self.num_parts) if within is None else within
        start, size = within.start, 0
        for index in within:
            size += self.manifest.parts[index].bytes
            if size >= BYTES_AT_ONCE or index == within[-1]:
                yield range(start, index + 1)
                start, size = index + 1, 0

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The parts in order."""
        return (self.part(index, columns) for index in range(self.num_parts))

    def arrow(self, columns: Sequence[str] | None = None, parts: range | None = None) -> pa.Table:
        """The whole table, or some of its parts, as an Arrow table."""
        empty = pa.Table.from_batches([], self.schema.arrow())  # `empty_table` imports pandas
        tables = [self.part(index, columns) for index in (range(self.num_parts) if parts is None else parts)]
        return pa.concat_tables(tables) if tables else empty.select(list(columns or empty.column_names))

    def polars(self, columns: Sequence[str] | None = None) -> "pl.DataFrame":
        """The whole table as a Polars frame, which shares the memory of the Arrow table where it can."""
        import polars as pl

        return pl.DataFrame(pl.from_arrow(self.arrow(columns)))

    def dataset(self, columns: Sequence[str] | None = None) -> "datasets.Dataset":
        """The whole table as a `datasets.Dataset` in memory.

        Raises:
            MissingDependency: the package `datasets` is not installed.
        """
        return require("datasets").Dataset(self.arrow(columns))

    def refuse_other_groups(self, groups: "TableReader") -> None:
        """Check that this companion table (scores, advantages) was made from `groups`.

        Raises:
            MismatchError: it was made from other groups; both fingerprints are named.
        """
        made_from = self.provenance.inputs.get("groups", groups.fingerprint)
        if made_from != groups.fingerprint or (not self.foreign and self.num_parts != groups.num_parts):
            raise MismatchError(
                f"{self.url} holds the {self.schema.name} of groups {made_from} (parts: {self.num_parts}); "
                f"{groups.url} is {groups.fingerprint} (parts: {groups.num_parts}). "
                f"Compute the {self.schema.name} of these groups first."
            )

    def aligned_part(self, group_ids: pa.ChunkedArray, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of this companion table that belong to part `index` of a groups table, in the same order.

        Args:
            group_ids: the `group_id` column of that part of the groups table.

        Raises:
            MismatchError: the companion table holds other groups.
        """
        if self.foreign:
            return self._rows_by_group_id(group_ids, columns)
        if index >= self.num_parts:
            raise MismatchError(f"{self.url} has {self.num_parts} parts; the groups have more. Regenerate {self.url}.")
        wanted = None if columns is None else ["group_id", *(c for c in columns if c != "group_id")]
        table = self.part(index, wanted)
        if not table.column("group_id").combine_chunks().equals(group_ids.combine_chunks()):
            raise MismatchError(
                f"{self._directory.path(self.manifest.parts[index].name)} does not hold the groups of part {index}: "
                f"it was made from other groups. Regenerate {self.url} from the groups that you use."
            )
        return table

    def aligned_frame(
        self, groups: "TableReader", group_ids: "pl.Series", parts: range, columns: Sequence[str]
    ) -> "pl.DataFrame":
        """The rows of this companion table that belong to consecutive parts of a groups table, in the same order.

        Args:
            group_ids: of these parts of the groups table.

        Raises:
            MismatchError: the companion table holds other groups.
        """
        import polars as pl

        if not self.foreign and parts.stop <= self.num_parts:
            frame = self.frame(parts, list(dict.fromkeys(["group_id", *columns])))
            if frame["group_id"].equals(group_ids):
                return frame
        tables = []
        for index in parts:  # which part it is
            ids = groups.part(index, ["group_id"]).column("group_id")
            tables.append(self.aligned_part(ids, index, columns))
        return pl.DataFrame(pl.from_arrow(pa.concat_tables(tables)))

    def _verified_bytes(self, entry: PartEntry) -> bytes:
        return self._verified(entry, self._directory.read, bytes_checksum)

    def _verify(self, entry: PartEntry) -> None:
        self._verified(entry, self._directory.checksum, str)

    def _verified(self, part: PartEntry, read: Callable[[str], Content], checksum: Callable[[Content], str]) -> Content:
        problem = f"is damaged: its SHA-256 is not the one in {MANIFEST}"
        try:
            for _ in range(1 if self._directory.is_local else 2):  # a network may change bytes, too
                content = read(part.name)
                if checksum(content) == part.sha256:
                    return content
        except InputError:
            if self._directory.exists(part.name):
                raise
            problem = "is missing"
        where = self._directory.path(part.name)
        if self.foreign:
            raise DamagedPart(f"{where} changed after the table was opened. Run the command again.")
        raise DamagedPart(
            f"{where} {problem}. Run the command that wrote {self.url} again: it regenerates only this part."
        )

    @cached_property
    def _whole_foreign_table(self) -> pa.Table:
        table = self.arrow()
        refuse_repeats(table, "group_id", self.url)
        return table

    def _rows_by_group_id(self, group_ids: pa.ChunkedArray, columns: Sequence[str] | None) -> pa.Table:
        """A foreign companion may have other parts and another order: look its rows up by group ID."""
        import pyarrow.compute as pc

        table = self._whole_foreign_table
        rows = pc.index_in(group_ids, value_set=table.column("group_id").combine_chunks())
        if rows.null_count:
            missing = group_ids.filter(rows.is_null())[0].as_py()
            raise MismatchError(f"{self.url} has no row for group {missing}. It needs one row per group.")
        aligned = table.take(rows)
        return aligned if columns is None else aligned.select(list(dict.fromkeys(["group_id", *columns])))


def open_table(url: str, expected: str | None = None) -> TableReader:
    """Open a complete table.

    Example:
        open_table("runs/scores", "scores").polars()

    A directory of Parquet files (or one file) without a manifest, written by other software, is accepted as a
    *foreign* table of the expected kind: it is validated when read, and fingerprinted by content.

    Args:
        expected: the kind of table: the name of its schema, e.g. `groups`.

    Raises:
        InputError: the table does not exist or is incomplete.
        MismatchError: the table is of another kind.
    """
    directory, file_name = _locate(url)
    if file_name is not None:
        return _open_foreign(directory, [file_name], expected, refuse_ours=False)
    manifest = read_manifest(directory)
    if manifest is not None:
        kind = manifest.provenance.table
        if kind not in TABLES or (expected is not None and kind != expected):
            raise MismatchError(f"{url} is a directory of kind '{kind}'; this needs {table_of_kind(expected)}.")
        return TableReader(directory, TABLES[kind], manifest, foreign=False)
    names = part_files(directory)
    if not names:
        inside = tables_inside(url)
        if inside:
            raise InputError(f"{url} is not a table itself: it holds the tables {', '.join(inside)}. Name one of them.")
        what = "is a file and no table" if Path(url).is_file() else "does not exist or holds no Parquet file"
        raise InputError(f"{url} {what}; this needs {table_of_kind(expected)}.")
    return _open_foreign(directory, names, expected, refuse_ours=True)


def tables_inside(url: str) -> list[str]:
    """The tables directly inside a directory, e.g. `data/train` and `data/eval` of `grao prompts --eval-fraction`."""
    directory = Directory(url)
    paths = [directory.path(name) for name in directory.folders()]
    return [path for path in paths if has_manifest(path)]


def _locate(url: str) -> tuple[Directory, str | None]:
    """Split the path of one Parquet file into directory and name. A directory may be called `….parquet` as well."""
    if url.endswith(".parquet") and not Directory(url).names():
        parent, slash, name = url.rpartition("/")
        return Directory(parent + slash or "."), name
    return Directory(url), None


def _open_foreign(directory: Directory, names: list[str], expected: str | None, refuse_ours: bool) -> TableReader:
    """Args: refuse_ours: parts that this program wrote, without a manifest, are a table that is still being written."""
    entries = []
    for name in names:
        data, where = directory.read(name), directory.path(name)
        if refuse_ours and read_provenance(data, where) is not None:
            raise InputError(
                f"{directory.url} is incomplete: it has parts ({len(names)}) but no {MANIFEST}. "
                "Run the command that was writing it again; it resumes there."
            )
        entries.append(PartEntry(name, count_rows(data, where), len(data), bytes_checksum(data)))
    if expected is None:
        raise InputError(f"{directory.url} has Parquet files but no {MANIFEST}; name the kind of table.")
    content = fingerprint({"foreign": expected, "parts": [entry.sha256 for entry in entries]})
    provenance = Provenance(expected, content, options={}, inputs={}, details={"foreign": True})
    return TableReader(directory, TABLES[expected], Manifest(provenance, tuple(entries)), foreign=True)
