"""The files of a local directory."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from grao_pipeline.storage.atomic import create_atomically, flush, is_temporary, remove_abandoned, write_atomically

PROBE = bytes(4096)
"""As much as a full disk refuses."""


class LocalFiles:
    """A directory of this machine's file systems. Its methods raise OSError, or ValueError for a path with a NUL."""

    def __init__(self, root: str) -> None:
        self._root = Path(root or "/")

    def names(self) -> list[str]:
        return self._entries(os.DirEntry.is_file)

    def folders(self) -> list[str]:
        return self._entries(os.DirEntry.is_dir)

    def exists(self, name: str) -> bool:
        try:
            return stat.S_ISREG(os.stat(self._root / name).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def stamp(self, name: str) -> tuple[int, int, int, int, int] | None:
        try:
            status = os.stat(self._root / name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev

    def path(self, name: str) -> Path:
        return self._root / name

    def read(self, name: str) -> bytes:
        with open(f"{self._root}/{name}", "rb", buffering=0) as file:
            return file.readall()

    def write(self, name: str, data: bytes | memoryview, durable: bool) -> None:
        self._in_directory(lambda: write_atomically(f"{self._root}/{name}", data, durable))

    def create(self, name: str, data: bytes | memoryview, durable: bool) -> bool:
        try:
            self._in_directory(lambda: create_atomically(f"{self._root}/{name}", data, durable))
        except FileExistsError:
            return False
        return True

    def _in_directory(self, write: Callable[[], None]) -> None:
        """Write, after the directory was made where it does not exist."""
        try:
            write()
        except FileNotFoundError:
            self._root.mkdir(parents=True, exist_ok=True)
            write()

    def flush(self, names: Sequence[str]) -> None:
        flush(self._root, names)

    def download(self, name: str, path: Path) -> None:
        shutil.copyfile(self._root / name, path)

    def upload(self, path: Path, name: str) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        write_atomically(self._root / name, path.read_bytes())

    def delete(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    def delete_all(self) -> None:
        if self._root.is_dir():
            shutil.rmtree(self._root)

    def try_writing(self) -> None:
        """Write to a file without a name in the directory, or in the one where it would be made."""
        place = self._root.absolute()
        while not os.path.lexists(place):
            place = place.parent
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(PROBE)
            file.flush()

    def remove_temporaries(self) -> None:
        for name in filter(is_temporary, self.names()):
            remove_abandoned(self._root / name)

    def _entries(self, is_wanted: Callable[[os.DirEntry[str]], bool]) -> list[str]:
        try:
            with os.scandir(self._root) as entries:
                return sorted(entry.name for entry in entries if is_wanted(entry))
        except (FileNotFoundError, NotADirectoryError):
            return []
