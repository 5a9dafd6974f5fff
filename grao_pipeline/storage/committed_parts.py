"""The parts that earlier runs of a command committed: verified, and whose they are."""

from grao_pipeline.checksums import bytes_checksum
from grao_pipeline.errors import DamagedPart, MismatchError
from grao_pipeline.progress import Progress
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.input_content import INPUT_CONTENT, has_other_rows
from grao_pipeline.storage.manifest import PartEntry, Provenance, differences
from grao_pipeline.storage.parquet import count_rows, read_provenance
from grao_pipeline.storage.seal import has_seal, verify_seal
from grao_pipeline.storage.verification import VerifiedFiles


class CommittedParts:
    """Finds out of the files of a directory whether they are intact parts of one table.

    Args:
        provenance: of the table.
        progress: is told of damage.
    """

    def __init__(self, directory: Directory, provenance: Provenance, progress: Progress) -> None:
        self._directory = directory
        self._provenance = provenance
        self._progress = progress
        self.verified = VerifiedFiles.of(directory)

    def entry(self, name: str, listed: PartEntry | None) -> PartEntry | None:
        """The entry of a file that an earlier run committed; None where the file is damaged.

        Args:
            listed: its entry in the manifest. A file that was verified before and did not change is not read.
        """
        if listed is not None and self.verified.includes(name, listed.sha256):
            return listed
        stamp = self._directory.stamp(name)
        entry = self.inspect(name, listed.sha256 if listed else None, self._progress)
        if entry is not None and listed is not None:
            self.verified.add(name, entry.sha256, stamp)
        return entry

    def is_current(self, stored: Provenance) -> bool:
        """Whether it was made from the inputs as they are now."""
        return not has_other_rows(stored.details, self._provenance.details.get(INPUT_CONTENT, {}))

    def inspect(self, name: str, sha256: str | None, progress: Progress) -> PartEntry | None:
        """The entry of a file that an earlier run committed; None where the file is damaged.

        Args:
            sha256: of the file in the manifest; None where that does not name it.
            progress: is told of damage.
        """
        data, where = self._directory.read(name), self._directory.path(name)
        actual = bytes_checksum(data)
        try:
            if sha256 not in (None, actual):
                raise DamagedPart(where)
            if sha256 is None:
                self._refuse_unsealed(data, name)
                verify_seal(data, name, where)
        except DamagedPart:
            progress.warn(f"{where} is damaged. It will be regenerated.")
            return None
        provenance = self.provenance_of(data, name)
        if not self.is_current(provenance):
            progress.warn(f"{where} was made from parts that were rewritten since. It will be regenerated.")
            return None
        return PartEntry(name, count_rows(data, where), len(data), actual)

    def _refuse_unsealed(self, data: bytes, name: str) -> None:
        """Refuse a file that is another table's or another program's, rather than call it damaged.

        Raises:
            DamagedPart: it is neither.
        """
        if not has_seal(data):
            self.provenance_of(data, name)

    def provenance_of(self, data: bytes, name: str) -> Provenance:
        """The provenance of a part, which must be ours."""
        where = self._directory.path(name)
        provenance = read_provenance(data, where)
        if provenance is None:
            raise MismatchError(f"{where} was not written by this program. Choose an empty directory for the output.")
        self.refuse_other_fingerprint(provenance, name)
        return provenance

    def refuse_other_fingerprint(self, stored: Provenance, name: str) -> None:
        if stored.table != self._provenance.table:
            raise MismatchError(
                f"{self._directory.url} already holds a table of kind '{stored.table}'; this command would write one "
                f"of kind '{self._provenance.table}'. Choose another output directory."
            )
        if stored.fingerprint != self._provenance.fingerprint:
            raise MismatchError(
                f"{self._directory.path(name)} is of another run: {differences(stored, self._provenance)}. Choose "
                f"another output directory, or delete this one. (Its fingerprint is {stored.fingerprint}; this command "
                f"would write {self._provenance.fingerprint}.)"
            )
