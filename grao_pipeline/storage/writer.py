"""Writing tables: a part is committed whole, never changed, and never made twice."""

import re
from dataclasses import dataclass

import pyarrow as pa

from grao_pipeline.errors import DamagedPart, InputError, MismatchError, UsageError
from grao_pipeline.fingerprints import bytes_checksum
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.schemas import TABLES, conform, validate
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import MANIFEST, Manifest, PartEntry, Provenance, part_name
from grao_pipeline.storage.parquet import decode, encode, read_provenance
from grao_pipeline.storage.reader import TableReader

UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Worker:
    """One of several processes that make a table together without talking to each other.

    Example: `Worker.parse("1/4")` makes the parts 1, 5, 9, …
    """

    index: int
    count: int

    def makes(self, part: int) -> bool:
        return part % self.count == self.index

    @staticmethod
    def parse(text: str | None) -> "Worker | None":
        """`i/N`, counted from 0.

        Raises:
            UsageError: it is no such pair.
        """
        if text is None:
            return None
        numbers = re.fullmatch(r"(\d+)/(\d+)", text)
        if numbers is None or int(numbers[1]) >= int(numbers[2]):
            raise UsageError(f"--worker {text!r}: expected i/N with 0 ≤ i < N, e.g. 0/4.")
        return Worker(int(numbers[1]), int(numbers[2]))


def unfinished_name(index: int) -> str:
    return part_name(index) + UNFINISHED


class TableWriter:
    """One table being written, possibly by a second run of the same command after a crash.

    Raises (on construction):
        MismatchError: the directory holds other work; it is neither mixed with this nor overwritten.
    """

    def __init__(
        self,
        url: str,
        provenance: Provenance,
        num_parts: int,
        progress: Progress = SILENT,
        worker: Worker | None = None,
    ) -> None:
        self.url = url
        self._directory = Directory(url)
        self._schema = TABLES[provenance.table]
        self._provenance = provenance
        self._num_parts = num_parts
        self._progress = progress
        self._worker = worker
        self._entries: dict[int, PartEntry] = {}
        self._unfinished: set[str] = set()
        self.was_complete = self._adopt_committed_parts()

    def missing(self) -> list[int]:
        """Indices of the parts that are still to be made, in order; of one worker, those that are its own."""
        return [index for index in self._all_missing() if self._worker is None or self._worker.makes(index)]

    @property
    def num_committed(self) -> int:
        return len(self._entries)

    def read(self, index: int, columns: list[str] | None = None) -> pa.Table:
        """A committed part, e.g. to summarise work that an earlier run did."""
        name = self._entries[index].name
        return decode(self._directory.read(name), self._directory.path(name), columns)

    def discard_changed_parts(self, groups: TableReader) -> None:
        """Forget the committed parts whose rows are no longer those of the groups beside them."""
        for index in sorted(self._entries):
            expected = groups.part(index, ["group_id"]).column("group_id").to_pylist()
            if self.read(index, ["group_id"]).column("group_id").to_pylist() != expected:
                where = self._directory.path(part_name(index))
                self._progress.note(f"{where} holds other groups than {groups.url} does now; making it again.")
                del self._entries[index]
                self.was_complete = False

    def write(self, index: int, table: pa.Table) -> None:
        """Commit part `index`.

        Raises:
            SchemaError: the table does not follow the contract.
        """
        name = part_name(index)
        conformed = conform(table, self._schema, name)
        validate(conformed, self._schema, name)
        data = encode(conformed, self._provenance)
        self._directory.write(name, data)
        self._entries[index] = PartEntry(name, conformed.num_rows, len(data), bytes_checksum(data))
        self._forget_unfinished(index)

    def save_unfinished(self, index: int, table: pa.Table) -> None:
        """Keep the rows of part `index` that are finished, for the run that goes on. Readers do not see them."""
        name = unfinished_name(index)
        self._directory.write(name, encode(conform(table, self._schema, name), self._provenance))
        self._unfinished.add(name)

    def unfinished(self, index: int) -> pa.Table | None:
        """The finished rows of part `index` that an interrupted run saved; None where there are none.

        Raises:
            MismatchError: they are of other work.
        """
        name = unfinished_name(index)
        if name not in self._unfinished:
            return None
        data, where = self._directory.read(name), self._directory.path(name)
        try:
            provenance = read_provenance(data, where)
            table = decode(data, where)
        except DamagedPart as error:
            self._progress.note(f"{error} Its groups are made again.")
            return None
        assert provenance is not None, f"{where} was not written by this class"
        self._refuse_other_work(provenance, name)
        return table

    def finish(self) -> list[int]:
        """Write the manifest once every part is committed; a complete and unchanged table is left alone.

        Returns:
            the parts that other workers still have to make. The last worker writes the manifest.
        """
        assert not self.missing(), "finish() before every part was written"
        if self._all_missing():
            self._adopt_committed_parts()
        if not self._all_missing() and not self.was_complete:
            entries = tuple(self._entries[index] for index in range(self._num_parts))
            self._directory.write(MANIFEST, Manifest(self._provenance, entries).to_json().encode())
            if self._worker is None:  # another worker may be writing the same manifest just now
                self._directory.remove_temporaries()
        return self._all_missing()

    def _all_missing(self) -> list[int]:
        return [index for index in range(self._num_parts) if index not in self._entries]

    def _forget_unfinished(self, index: int) -> None:
        name = unfinished_name(index)
        if name in self._unfinished:
            self._directory.delete(name)
            self._unfinished.remove(name)

    def _adopt_committed_parts(self) -> bool:
        """Take over what earlier runs committed; True where the table is complete and intact."""
        manifest = self._read_manifest()
        checksums = {part.name: part.sha256 for part in manifest.parts} if manifest else {}
        names = {part_name(index): index for index in range(self._num_parts)}
        for name in self._directory.names():
            if name.endswith(UNFINISHED):
                self._unfinished.add(name)
            if name.endswith(".parquet") and names.get(name) not in self._entries:
                entry = self._inspect(name, checksums.get(name))
                if entry is not None and name in names:
                    self._entries[names[name]] = entry
        for index in self._entries:
            self._forget_unfinished(index)
        return manifest is not None and not self._all_missing()

    def _read_manifest(self) -> Manifest | None:
        """The manifest of a finished run; a damaged one is made again, since the parts say what they are."""
        if not self._directory.exists(MANIFEST):
            return None
        try:
            manifest = Manifest.from_json(self._directory.read(MANIFEST), self._directory.path(MANIFEST))
        except InputError as error:
            self._progress.note(str(error))
            return None
        self._refuse_other_work(manifest.provenance, MANIFEST)
        return manifest

    def _inspect(self, name: str, sha256: str | None) -> PartEntry | None:
        """The entry of a file that an earlier run committed; None where it is damaged and must be made again."""
        where = self._directory.path(name)
        data = self._directory.read(name)
        actual = bytes_checksum(data)
        try:
            if sha256 not in (None, actual):
                raise DamagedPart(where)
            provenance = read_provenance(data, where)
            rows = decode(data, where).num_rows
        except DamagedPart:
            self._progress.note(f"{where} is damaged; making it again.")
            return None
        if provenance is None:
            raise MismatchError(f"{where} was not made by this program. Choose an empty directory for the output.")
        self._refuse_other_work(provenance, name)
        return PartEntry(name, rows, len(data), actual)

    def _refuse_other_work(self, found: Provenance, name: str) -> None:
        if found.table != self._provenance.table:
            raise MismatchError(
                f"{self.url} already holds a '{found.table}' table; this would write '{self._provenance.table}'. "
                "Choose another output directory."
            )
        if found.fingerprint != self._provenance.fingerprint:
            raise MismatchError(
                f"{self._directory.path(name)} bears fingerprint {found.fingerprint}, this command would write "
                f"{self._provenance.fingerprint}: {_difference(found, self._provenance)}. "
                "Choose another output directory, or delete this one."
            )


def _difference(found: Provenance, wanted: Provenance) -> str:
    """Name the first things in which two pieces of work differ."""
    changes = []
    for label, old, new in (("", found.options, wanted.options), ("input ", found.inputs, wanted.inputs)):
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                changes.append(f"{label}{key} was {old.get(key)!r} and is now {new.get(key)!r}")
    return "; ".join(changes[:3]) or "the options differ"
