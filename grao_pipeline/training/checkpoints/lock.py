"""One process at a time trains into a directory."""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from grao_pipeline.errors import StageFailure

LOCK = ".lock"


class OutputLock:
    """Held while a training writes to OUT. The system frees it when its holder dies, however it dies.

    Raises (on construction):
        StageFailure: another process holds it; the message names it.
        OSError: the directory cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / LOCK
        self._file = self._locked()
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let others in; the file stays, for a finished training to delete."""
        self._file.close()

    def _locked(self) -> IO[str]:
        while True:
            file = self._path.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                file.close()
                raise StageFailure(
                    f"{self._path.parent} is being trained into by {holder}. Wait for it, or stop it."
                ) from None
            if self._path.exists() and os.path.samestat(os.fstat(file.fileno()), self._path.stat()):
                return file
            file.close()  # its holder finished, and deleted it, between the two lines above
