"""One process at a time runs a run directory."""

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import IO

from grao_pipeline.errors import StageFailure


class RunLock:
    """Held while `grao rounds run` works. The system frees it when its holder dies, however it dies.

    Raises (on entering):
        StageFailure: another process holds it; the message names it.
    """

    def __init__(self, output: Path) -> None:
        self._path = output / "lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise StageFailure(f"{self._path.parent} is being run by {holder}. Wait for it, or stop it.") from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()
