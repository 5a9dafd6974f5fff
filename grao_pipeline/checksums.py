"""Checksums of files. That of a large file is remembered in the user's cache directory while the file is unchanged."""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from grao_pipeline.cache_directory import cache_directory

LEAST_REMEMBERED = 64 << 20
"""Bytes; a smaller file is read every time."""
SETTLED_SECONDS = 2.0
"""A file that changed less than this ago may change again without another time stamp."""


def bytes_checksum(data: bytes | memoryview) -> str:
    """SHA-256, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def file_checksum(path: Path, least_remembered: int = LEAST_REMEMBERED) -> str:
    """The checksum of a file's content.

    A file of at least `least_remembered` bytes is read once for as long as its path, size, inode and times of change
    stay as they are. `ctime` is among them, which no program can set back.

    Raises:
        OSError: the file cannot be read.
    """
    state = path.stat()
    if state.st_size < least_remembered:
        return read_checksum(path)
    note = cache_directory() / "checksums" / bytes_checksum(os.fsencode(path.absolute()))[:32]
    identity = _identity(path, state)
    remembered = _remembered(note, identity)
    if remembered is not None:
        return remembered
    checksum = read_checksum(path)
    is_settled = time.time() - max(state.st_mtime, state.st_ctime) > SETTLED_SECONDS
    if is_settled and _identity(path, path.stat()) == identity:
        _remember(note, identity, checksum)
    return checksum


def read_checksum(path: Path) -> str:
    """The checksum of what a file holds now.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(path: Path, state: os.stat_result) -> str:
    times = (state.st_mtime_ns, state.st_ctime_ns)
    return bytes_checksum(repr((str(path.absolute()), state.st_dev, state.st_ino, state.st_size, times)).encode())


def _remembered(note: Path, identity: str) -> str | None:
    """What the note says of a file with this identity; None where it says nothing, or is damaged."""
    try:
        checksum, seal = note.read_text("ascii").split()
    except (OSError, ValueError):
        return None
    return checksum if seal == _seal(identity, checksum) else None


def _remember(note: Path, identity: str, checksum: str) -> None:
    """Write the note whole; where the directory cannot be written, the file is read again the next time."""
    temporary = note.with_name(f".{note.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(f"{checksum} {_seal(identity, checksum)}\n", "ascii")
        os.replace(temporary, note)


def _seal(identity: str, checksum: str) -> str:
    return bytes_checksum(f"{identity} {checksum}".encode())
