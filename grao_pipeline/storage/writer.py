"""Writing tables: a part is committed whole, and not written twice, unless it is replaced on purpose."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from grao_pipeline.checksums import bytes_checksum
from grao_pipeline.errors import DamagedPart, InputError, UsageError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.committed_parts import CommittedParts
from grao_pipeline.storage.delayed_flush import DelayedFlush
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import Manifest, PartEntry, Provenance, part_name
from grao_pipeline.storage.manifest_file import MANIFEST, delete_manifest, read_manifest, write_manifest
from grao_pipeline.storage.one_output import refuse_other_outputs
from grao_pipeline.storage.parquet import decode, encode
from grao_pipeline.storage.reader import TableReader
from grao_pipeline.storage.seal import verify_seal
from grao_pipeline.storage.validation import conform, validate, validate_slices

UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class PartShare:
    """The share of a table's parts that one of several independent processes writes.

    Example: `PartShare.parse("1/4")` includes the parts 1, 5, 9, …
    """

    index: int
    count: int

    def includes(self, part: int) -> bool:
        """Whether this process writes the part."""
        return part % self.count == self.index

    def split(self, count: int) -> "list[PartShare]":
        """The shares of several processes that together write this share."""
        return [PartShare(self.index + number * self.count, self.count * count) for number in range(count)]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @staticmethod
    def parse(text: str | None) -> "PartShare | None":
        """Parse `--worker INDEX/COUNT`, where the index counts from 0. None: one process writes the whole table.

        Raises:
            UsageError: not of the form INDEX/COUNT.
        """
        if text is None:
            return None
        numbers = re.fullmatch(r"(\d+)/(\d+)", text)
        if numbers is None or int(numbers[1]) >= int(numbers[2]):
            raise UsageError(
                f"{text!r}: expected INDEX/COUNT with 0 ≤ INDEX < COUNT, e.g. 0/4. For a Slurm array that is "
                "--array=0-3, not 1-4.",
                option="worker",
            )
        return PartShare(int(numbers[1]), int(numbers[2]))


def unfinished_name(index: int) -> str:
    """The file name of the finished rows of a part that is not finished."""
    return part_name(index) + UNFINISHED


class TableWriter:
    """Writes one table, and resumes a table that an earlier run of the same command did not finish.

    Raises (on construction):
        MismatchError: the directory holds a table with another fingerprint, or no table. It is neither extended nor
            overwritten.
        InputError: parts are missing, and the directory cannot be written.
    """

    def __init__(
        self,
        url: str,
        provenance: Provenance,
        num_parts: int,
        progress: Progress = SILENT,
        share: PartShare | None = None,
    ) -> None:
        self.url = url
        self._directory = Directory(url, progress)
        self._disk = DelayedFlush(self._directory)
        self._schema = TABLES[provenance.table]
        self._provenance = provenance
        self._num_parts = num_parts
        self._progress = progress
        self._share = share
        self._entries: dict[int, PartEntry] = {}
        self._outdated: set[int] = set()
        self._unfinished: set[str] = set()
        self._committed = CommittedParts(self._directory, provenance, progress)
        self.was_complete = self._adopt_committed_parts()
        if not self.was_complete:
            self._directory.try_writing()
            self._directory.remove_temporaries()

    def missing(self) -> list[int]:
        """The indices of the parts that this process still has to write, in order."""
        return [index for index in self.all_missing() if self._share is None or self._share.includes(index)]

    def all_missing(self) -> list[int]:
        """The indices of the parts that no process has written, in order."""
        return [index for index in range(self._num_parts) if index not in self._entries]

    def committed(self) -> list[int]:
        """The indices of the parts that are written, in order."""
        return sorted(self._entries)

    @property
    def num_committed(self) -> int:
        """The number of parts that are written."""
        return len(self._entries)

    @property
    def num_committed_rows(self) -> int:
        """Rows of the committed parts."""
        return sum(entry.rows for entry in self._entries.values())

    def read(self, index: int, columns: list[str] | None = None) -> pa.Table:
        """A committed part, e.g. to summarize parts of an earlier run."""
        name = self._entries[index].name
        return decode(self._directory.read(name), self._directory.path(name), columns)

    def discard_changed_parts(self, groups: TableReader) -> None:
        """Forget committed parts whose rows do not match the current groups; they count as missing."""
        content = fingerprint([groups.content, *(self._entries[index].sha256 for index in self.committed())])
        if self._committed.verified.aligned == content:
            return
        for index in sorted(self._entries):
            expected = groups.part(index, ["group_id"]).column("group_id").to_pylist()
            if self.read(index, ["group_id"]).column("group_id").to_pylist() != expected:
                where = self._directory.path(part_name(index))
                self._progress.warn(
                    f"{where} does not hold the groups that {groups.url} holds now. It will be regenerated."
                )
                del self._entries[index]
                self._outdated.add(index)
                self.was_complete = False
        if self.was_complete:
            self._committed.verified.remember_aligned(content)

    def write(self, index: int, table: pa.Table) -> None:
        """Commit part `index`. Where another process committed it meanwhile, that part stays and this one is dropped:
        a manifest that names it may exist already.

        Raises:
            SchemaError: the table does not follow the contract.
        """
        name = part_name(index)
        conformed = conform(table, self._schema, name)
        validate(conformed, self._schema, name)
        self._commit(index, conformed)

    def write_parts(self, parts: Sequence[int], sizes: Sequence[int], table: pa.Table, only: Collection[int]) -> None:
        """Commit consecutive parts like `write`, but check all their rows at once.

        Args:
            sizes: rows of the parts.
            table: their rows.
            only: the parts to commit.

        Raises:
            SchemaError: a part does not follow the contract; the message names it.
        """
        conformed = conform(table, self._schema, part_name(parts[0]))
        slices, start = {}, 0
        for index, size in zip(parts, sizes, strict=True):
            slices[part_name(index)] = conformed.slice(start, size)
            start += size
        validate_slices(conformed, slices, self._schema)
        for index in parts:
            if index in only:
                self._commit(index, slices[part_name(index)])

    def replace(self, index: int, table: pa.Table) -> None:
        """Commit another content of part `index`. Until `finish`, the table counts as unfinished: a run that is stopped
        in between leaves no manifest that contradicts its parts.

        Raises:
            SchemaError: the table does not follow the contract.
        """
        if self.was_complete:
            delete_manifest(self._directory)
            self.was_complete = False
        self._outdated.add(index)
        self.write(index, table)

    def save_unfinished(self, index: int, table: pa.Table) -> None:
        """Save the finished rows of part `index` for the run that resumes. Readers do not see them."""
        name = unfinished_name(index)
        self._directory.write(name, encode(conform(table, self._schema, name), self._provenance, name))
        self._unfinished.add(name)

    def unfinished(self, index: int) -> pa.Table | None:
        """The finished rows of part `index` that an interrupted run saved; None where it saved none.

        Raises:
            MismatchError: the rows have another fingerprint.
        """
        name = unfinished_name(index)
        if name not in self._unfinished:
            return None
        data, where = self._directory.read(name), self._directory.path(name)
        try:
            verify_seal(data, name, where)
        except DamagedPart as error:
            self._progress.warn(f"{error} They will be regenerated.")
            return None
        self._committed.provenance_of(data, name)
        return decode(data, where)

    def finish(self) -> list[int]:
        """Write the manifest once all parts are committed. A complete, unchanged table is left as it is.

        Returns:
            the parts that other processes still have to write; the last process writes the manifest.
        """
        assert not self.missing(), "finish() before every part was written"
        if self.all_missing():
            self._adopt_committed_parts()
        if not self.was_complete:
            self._disk.flush(entry.name for entry in self._entries.values())
        if not self.all_missing() and not self.was_complete:
            entries = tuple(self._entries[index] for index in range(self._num_parts))
            write_manifest(self._directory, Manifest(self._provenance, entries))
            self._directory.remove_temporaries()
        return self.all_missing()

    def _commit(self, index: int, table: pa.Table) -> None:
        name = part_name(index)
        data = encode(table, self._provenance, name)
        entry = PartEntry(name, table.num_rows, len(data), bytes_checksum(data))
        if index in self._outdated:
            self._directory.write(name, data, durable=False)
        elif not self._directory.create(name, data, durable=False):
            entry = self._committed.inspect(name, None, SILENT) or entry
            if entry.sha256 == bytes_checksum(data):
                self._directory.write(name, data, durable=False)  # in the place of a damaged one
        self._entries[index] = entry
        self._disk.add(name)
        self._forget_unfinished(index)

    def _forget_unfinished(self, index: int) -> None:
        name = unfinished_name(index)
        if name in self._unfinished:
            self._directory.delete(name)
            self._unfinished.remove(name)

    def _adopt_committed_parts(self) -> bool:
        """Register the parts that earlier runs committed. True where the table is complete and intact."""
        manifest = self._read_manifest()
        listed = (
            {part.name: part for part in manifest.parts}
            if manifest and self._committed.is_current(manifest.provenance)
            else {}
        )
        names = {part_name(index): index for index in range(self._num_parts)}
        there = self._directory.names()
        refuse_other_outputs(self.url, there, "table")
        for name in there:
            if name.endswith(UNFINISHED):
                self._unfinished.add(name)
            if name.endswith(".parquet") and name != MANIFEST and names.get(name) not in self._entries:
                entry = self._committed.entry(name, listed.get(name))
                if entry is not None and name in names:
                    self._entries[names[name]] = entry
        self._committed.verified.save()
        for index in self._entries:
            self._forget_unfinished(index)
        return manifest is not None and not self.all_missing()

    def _read_manifest(self) -> Manifest | None:
        """The manifest of a finished run; None where it is missing or damaged: it can be rebuilt from the parts."""
        try:
            manifest = read_manifest(self._directory)
        except InputError as error:
            self._progress.warn(str(error))
            return None
        if manifest is not None:
            self._committed.refuse_other_fingerprint(manifest.provenance, MANIFEST)
        return manifest
