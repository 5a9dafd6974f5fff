"""Write a local file so that a reader, or a crash, sees all of it or the one before."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write `path`: a temporary file `.NAME.PID.tmp` in the same directory, flushed to disk, then renamed.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk it would hold the space that the next try needs
        raise


def sync(path: Path) -> None:
    """Flush a file that was written by others to disk, before a rename makes it count."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
