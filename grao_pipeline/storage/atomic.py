"""Write a local file so that a reader, or a crash, sees all of it or the one before."""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

WITHOUT_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
"""What a file system without hard links answers."""
FLUSHES_AT_ONCE = 8
"""Flushes that run at the same time share commits of the file system's journal."""
MOST_FLUSHES = 64
"""Of more files, the whole file system is flushed: one wait, also for what others wrote to it."""


def write_atomically(path: str | Path, data: bytes | memoryview, durable: bool = True) -> None:
    """Write `path`: a temporary file in the same directory, flushed to disk, then renamed.

    Args:
        durable: False leaves the flush to `flush`: until then a loss of power, and nothing else, can tear the file.

    Raises:
        OSError: the file cannot be written.
    """
    with _neighbor(path, data, durable) as temporary:
        os.replace(temporary, path)


def create_atomically(path: str | Path, data: bytes | memoryview, durable: bool = True) -> None:
    """Write `path` like `write_atomically`, unless the file exists: of several processes, one succeeds.

    Raises:
        FileExistsError: the file exists.
        OSError: the file cannot be written.
    """
    with _neighbor(path, data, durable) as temporary:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in WITHOUT_LINKS:
                raise
            if os.path.exists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path)) from None
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


def flush(directory: Path, names: Sequence[str]) -> None:
    """Flush files that were written without it to disk, and then their names in the directory.

    Raises:
        OSError: a file cannot be flushed.
    """
    if len(names) > MOST_FLUSHES and sync_file_system(directory):
        return
    with ThreadPoolExecutor(FLUSHES_AT_ONCE) as pool:
        shares = [[directory / name for name in names[start::FLUSHES_AT_ONCE]] for start in range(FLUSHES_AT_ONCE)]
        for done in [pool.submit(_sync_all, share) for share in shares if share]:
            done.result()
    with suppress(OSError):  # a file system that flushes no directories
        _sync_all([directory])


def sync_file_system(directory: Path) -> bool:
    """Flush everything that was written to the file system of a directory; False where that cannot be asked for.

    Raises:
        OSError: something cannot be flushed.
    """
    import ctypes  # which writers of few files do without

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):  # not Linux
        return False
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if library.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fspath(directory))
    finally:
        os.close(descriptor)
    return True


def _sync_all(paths: Sequence[Path]) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)  # the files of other users, too
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked_temporary(path: str | Path) -> Iterator[BinaryIO]:
    """A new file `.NAME.RANDOM.tmp` next to `path`, locked while it is open; it is gone afterwards.

    Raises:
        OSError: it cannot be written.
    """
    folder, name = os.path.split(path)
    while True:
        temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
        try:
            with open(temporary, "xb") as file:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_nlink == 0:
                    continue  # `remove_abandoned` of another process came between `open` and `flock`
                yield file
                return
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


@contextmanager
def _neighbor(path: str | Path, data: bytes | memoryview, durable: bool) -> Iterator[str]:
    """A temporary file with the data; it is gone afterwards, also from a full disk."""
    with locked_temporary(path) as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())
        yield file.name
