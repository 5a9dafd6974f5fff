"""One process at a time writes to a directory."""

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from grao_pipeline.errors import StageFailure
from grao_pipeline.storage.outside_errors import refused


class DirectoryLock:
    """A lock on a directory, taken on construction and held until `release` or the end of a `with` block.

    The operating system frees it when the process that holds it dies, however it dies. The lock file names the holder
    and stays on disk; the holder may delete it when its work is complete.

    Args:
        name: of the lock file in the directory, which is created where it is missing.
        activity: what the holder does to the directory, for the message.

    Raises (on construction):
        StageFailure: another process holds the lock; the message names it.
        InputError: the directory cannot be written.

    Example:
        with DirectoryLock(Path("runs/model"), ".lock", "being trained into"):
            ...
    """

    def __init__(self, directory: Path, name: str, activity: str) -> None:
        self._directory = directory
        self._path = directory / name
        self._activity = activity
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = self._locked_file()
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._file.flush()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise refused("write", str(self._path), error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let other processes in."""
        self._file.close()

    def _locked_file(self) -> IO[str]:
        while True:
            file = self._path.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                file.close()
                raise StageFailure(
                    f"{self._directory} is {self._activity} by {holder}. Wait for it, or stop it."
                ) from None
            if self._is_current(file):
                return file
            file.close()  # The holder finished and deleted the file between `open` and `flock`: lock the new one.

    def _is_current(self, file: IO[str]) -> bool:
        """Whether the path still names this open file."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False
