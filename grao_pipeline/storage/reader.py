"""Reading tables: every byte that is used was verified against the manifest."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.errors import DamagedPart, InputError, MismatchError
from grao_pipeline.fingerprints import bytes_checksum, fingerprint
from grao_pipeline.schemas import TABLES, TableSchema, conform, validate
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import MANIFEST, Manifest, PartEntry, Provenance
from grao_pipeline.storage.parquet import decode, read_provenance


class TableReader:
    """A complete table, part by part. Make one with `open_table`."""

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
        data = self._directory.read(entry.name)
        if bytes_checksum(data) != entry.sha256:
            raise DamagedPart(
                f"{where} is damaged: its SHA-256 is not the one in {MANIFEST}. "
                f"Re-run the command that made {self.url}; it re-makes only this part."
            )
        wanted = list(columns) if columns is not None else [column.name for column in self.schema.columns]
        table = decode(data, where, wanted)
        if self.foreign:
            full = conform(decode(data, where), self.schema, where)
            validate(full, self.schema, where)
            table = full.select(wanted)
        return table

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        return (self.part(index, columns) for index in range(self.num_parts))

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole table."""
        empty = self.schema.arrow().empty_table()
        tables = list(self.parts(columns))
        return pa.concat_tables(tables) if tables else empty.select(list(columns or empty.column_names))

    def refuse_other_groups(self, groups: "TableReader") -> None:
        """Check that this companion table (scores, advantages) was made from `groups`.

        Raises:
            MismatchError: it was made from other groups; both fingerprints are named.
        """
        made_from = self.provenance.inputs.get("groups", groups.fingerprint)
        if made_from != groups.fingerprint or (not self.foreign and self.num_parts != groups.num_parts):
            raise MismatchError(
                f"{self.url} holds the {self.schema.name} of groups {made_from} ({self.num_parts} parts); "
                f"{groups.url} is {groups.fingerprint} ({groups.num_parts} parts). "
                f"Make the {self.schema.name} of these groups first."
            )

    def aligned_part(self, group_ids: pa.ChunkedArray, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of this companion table that belong to part `index` of a groups table, in its order.

        Args:
            group_ids: the `group_id` column of that part of the groups table.

        Raises:
            MismatchError: the rows are not those of the groups.
        """
        if self.foreign:
            return self._rows_by_group_id(group_ids, columns)
        if index >= self.num_parts:
            raise MismatchError(f"{self.url} has {self.num_parts} parts; the groups have more. Re-make it from them.")
        wanted = None if columns is None else ["group_id", *(c for c in columns if c != "group_id")]
        table = self.part(index, wanted)
        if not table.column("group_id").combine_chunks().equals(group_ids.combine_chunks()):
            raise MismatchError(
                f"{self._directory.path(self.manifest.parts[index].name)} does not hold the groups of part {index}: "
                f"it was made from other groups. Re-make {self.url} from the groups that you use."
            )
        return table

    @cached_property
    def _whole_foreign_table(self) -> pa.Table:
        return self.read()

    def _rows_by_group_id(self, group_ids: pa.ChunkedArray, columns: Sequence[str] | None) -> pa.Table:
        """A foreign companion need not have the groups' parts or order: find its rows by their id."""
        table = self._whole_foreign_table
        rows = pc.index_in(group_ids, value_set=table.column("group_id").combine_chunks())
        if rows.null_count:
            missing = group_ids.filter(pc.is_null(rows))[0].as_py()
            raise MismatchError(f"{self.url} has no row for group {missing}. It needs one row for every group.")
        taken = table.take(rows)
        return taken if columns is None else taken.select(list(dict.fromkeys(["group_id", *columns])))


def open_table(url: str, expected: str | None = None) -> TableReader:
    """Open a complete table.

    A directory of Parquet files (or one file) that other software wrote, without manifest, is accepted as a *foreign*
    table of the expected kind: validated when read and fingerprinted by content.

    Args:
        expected: the name of the table's schema, e.g. `groups`.

    Raises:
        InputError: there is no such table, or it is incomplete.
        MismatchError: it is another kind of table.
    """
    directory, only = _locate(url)
    names = [only] if only else [name for name in directory.names() if name.endswith(".parquet")]
    if only is None and directory.exists(MANIFEST):
        manifest = Manifest.from_json(directory.read(MANIFEST), directory.path(MANIFEST))
        kind = manifest.provenance.table
        if kind not in TABLES or (expected is not None and kind != expected):
            raise MismatchError(f"{url} is a '{kind}' directory; this needs {_article(expected)}.")
        return TableReader(directory, TABLES[kind], manifest, foreign=False)
    if not names:
        raise InputError(f"{url}: there is no such table ({_article(expected)} was expected).")
    if only is None:
        _refuse_incomplete(directory, names)
    return _open_foreign(directory, names, expected)


def _locate(url: str) -> tuple[Directory, str | None]:
    """Split the path of a single Parquet file into its directory and name."""
    if url.endswith(".parquet"):
        parent, _, name = url.rpartition("/")
        return Directory(parent or "."), name
    return Directory(url), None


def _refuse_incomplete(directory: Directory, names: list[str]) -> None:
    """Parts of ours without a manifest are a table that is still being written."""
    if any(read_provenance(directory.read(name), directory.path(name)) is not None for name in names):
        raise InputError(
            f"{directory.url} is incomplete: it has parts ({len(names)}) but no {MANIFEST}. "
            "Re-run the command that was writing it; it goes on from there."
        )


def _open_foreign(directory: Directory, names: list[str], expected: str | None) -> TableReader:
    entries = []
    for name in names:
        data = directory.read(name)
        rows = decode(data, directory.path(name)).num_rows
        entries.append(PartEntry(name, rows, len(data), bytes_checksum(data)))
    if expected is None:
        raise InputError(f"{directory.url} has Parquet files but no {MANIFEST}; say which table it is.")
    content = fingerprint({"foreign": expected, "parts": [entry.sha256 for entry in entries]})
    provenance = Provenance(expected, content, options={}, inputs={}, details={"foreign": True})
    return TableReader(directory, TABLES[expected], Manifest(provenance, tuple(entries)), foreign=True)


def _article(expected: str | None) -> str:
    return f"a '{expected}' table" if expected else "a table"
