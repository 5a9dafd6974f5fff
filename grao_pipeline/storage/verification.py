"""Whether a table is intact, found out once: a local file that did not change since it was verified is not read again.

A file counts as unchanged while its size, its times of modification and change, its inode and its device are the same.
The memory is in the user's cache directory; deleting it makes everything be verified again. What a stage reads is
verified always.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field

from grao_pipeline.cache_directory import cache_directory
from grao_pipeline.checksums import SETTLED_SECONDS, bytes_checksum
from grao_pipeline.errors import DamagedPart, InputError
from grao_pipeline.storage.directory import Directory, Stamp
from grao_pipeline.storage.json_record import read_record, write_record
from grao_pipeline.storage.manifest import PartEntry
from grao_pipeline.storage.manifest_file import read_manifest


@dataclass
class VerifiedFiles:
    """The files of one directory that were verified, by checksum and stamp.

    Example:
        verified = VerifiedFiles.of(directory)
        if not verified.includes(name, sha256): ...; verified.add(name, sha256)
        verified.save()
    """

    directory: Directory
    stamps: dict[str, list[object]] = field(default_factory=dict)
    aligned: str = ""
    """The content of this table and of the groups whose rows it was seen to have."""
    is_changed: bool = False

    @staticmethod
    def of(directory: Directory) -> "VerifiedFiles":
        """What is remembered of a directory: nothing of a remote one."""
        if not directory.is_local:
            return VerifiedFiles(directory)
        try:
            value = read_record(_memory(), _name(directory)) or {"stamps": {}, "aligned": ""}
            return VerifiedFiles(directory, value["stamps"], value["aligned"])
        except InputError:  # damaged, or unreadable: it only saves time
            return VerifiedFiles(directory)

    def includes(self, name: str, sha256: str) -> bool:
        """Whether the file had this checksum, and did not change since."""
        stamp = self.directory.stamp(name)
        return stamp is not None and self.stamps.get(name) == [sha256, *stamp]

    def add(self, name: str, sha256: str, stamp: Stamp | None) -> None:
        """Remember that a file has this checksum.

        Args:
            stamp: from before it was read.
        """
        if stamp is not None and max(stamp[1], stamp[2]) < (time.time() - SETTLED_SECONDS) * 1e9:
            self.stamps[name] = [sha256, *stamp]
            self.is_changed = True

    def remember_aligned(self, content: str) -> None:
        """Keep that the rows of a complete table are those of its groups, whose content counts in `content`."""
        self.aligned, self.is_changed = content, True
        self.save()

    def save(self) -> None:
        """Keep it for other processes."""
        if self.is_changed:
            with suppress(InputError):  # a full disk, or a home directory that is read-only
                write_record(_memory(), _name(self.directory), {"stamps": self.stamps, "aligned": self.aligned})


def is_intact(url: str | os.PathLike[str]) -> bool:
    """Whether a directory is a complete table of ours whose parts are those that were written.

    Raises:
        InputError: the place does not answer.
    """
    directory = Directory(url)
    try:
        manifest = read_manifest(directory)
    except DamagedPart:
        return False
    if manifest is None:
        return False
    verified = VerifiedFiles.of(directory)
    intact = all(_is_verified(directory, part, verified) for part in manifest.parts)
    verified.save()
    return intact


def _is_verified(directory: Directory, part: PartEntry, verified: VerifiedFiles) -> bool:
    if verified.includes(part.name, part.sha256):
        return True
    stamp = directory.stamp(part.name)
    if not directory.exists(part.name) or bytes_checksum(directory.read(part.name)) != part.sha256:
        return False
    verified.add(part.name, part.sha256, stamp)
    return True


def _memory() -> Directory:
    return Directory(cache_directory() / "verified")


def _name(directory: Directory) -> str:
    return f"{bytes_checksum(os.path.realpath(directory.url).encode())[:32]}.json"
