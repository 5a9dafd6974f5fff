"""Write a local file so that a reader, or a crash, sees all of it or the one before."""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WITHOUT_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
"""What a file system without hard links answers."""


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write `path`: a temporary file in the same directory, flushed to disk, then renamed.

    Raises:
        OSError: the file cannot be written.
    """
    with _flushed_neighbor(path, data) as temporary:
        os.replace(temporary, path)


def create_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write `path` like `write_atomically`, unless the file exists: of several processes, one succeeds.

    Raises:
        FileExistsError: the file exists.
        OSError: the file cannot be written.
    """
    with _flushed_neighbor(path, data) as temporary:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in WITHOUT_LINKS:
                raise
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            os.replace(temporary, path)


def remove_abandoned(temporary: Path) -> None:
    """Delete a temporary file whose writer was killed. One that is being written, perhaps in another container, stays:
    its writer holds a lock on it, which process IDs could not tell."""
    with suppress(OSError), temporary.open("r+b") as file:  # gone, another user's, or no locks: not ours to delete
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one of the temporary files of this module."""
    return name.startswith(".") and name.endswith(".tmp")


def sync(path: Path) -> None:
    """Flush a file that was written by others to disk, before a rename makes it count."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


@contextmanager
def _flushed_neighbor(path: Path, data: bytes | memoryview) -> Iterator[Path]:
    """A locked temporary file `.NAME.RANDOM.tmp` with the data; it is gone afterwards, also from a full disk."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("xb") as file:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_nlink == 0:
                    continue  # `remove_abandoned` of another process came between `open` and `flock`
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                yield temporary
                return
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
