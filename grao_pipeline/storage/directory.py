"""A directory of small files, local or remote, in which a file appears whole or not at all."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from grao_pipeline.checksums import bytes_checksum, read_checksum
from grao_pipeline.errors import InputError
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.storage.local_files import LocalFiles
from grao_pipeline.storage.outside_errors import attempt, reason_of

Result = TypeVar("Result")

Stamp = tuple[int, int, int, int, int]
"""Of a local file: its size, times of modification and change in nanoseconds, inode and device."""


class Files(Protocol):
    """The files of one directory; the methods are those of `Directory`, and raise whatever their place raises."""

    def names(self) -> list[str]: ...
    def folders(self) -> list[str]: ...
    def exists(self, name: str) -> bool: ...
    def stamp(self, name: str) -> Stamp | None: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str, data: bytes | memoryview, durable: bool) -> None: ...
    def create(self, name: str, data: bytes | memoryview, durable: bool) -> bool: ...
    def flush(self, names: Sequence[str]) -> None: ...
    def download(self, name: str, path: Path) -> None: ...
    def upload(self, path: Path, name: str) -> None: ...
    def delete(self, name: str) -> None: ...
    def delete_all(self) -> None: ...
    def try_writing(self) -> None: ...
    def remove_temporaries(self) -> None: ...


class Directory:
    """A directory named by a local path or an fsspec URL (`s3://`, `gs://`, `hf://`, `memory://`).

    Every method raises InputError where the place does not answer, or refuses; the message names the file.

    Args:
        progress: is told when a store must be asked again.

    Raises (on construction):
        InputError: the URL's protocol is unknown, or its driver is not installed.
    """

    def __init__(self, url: str | os.PathLike[str], progress: Progress = SILENT) -> None:
        given = os.fspath(url)
        if not given:
            raise InputError("Expected a path or a URL, found an empty text.")
        self.url = given if given.endswith("://") else given.rstrip("/") or "/"
        self._progress = progress
        self._files: Files = (
            LocalFiles(os.path.join(os.getcwd(), self.url)) if _is_path(self.url) else _opened(self.url)
        )
        self.is_local = isinstance(self._files, LocalFiles)

    def path(self, name: str) -> str:
        """The URL of a file, for messages."""
        return f"{self.url}/{name}"

    def names(self) -> list[str]:
        """The sorted names of its files; empty where the directory does not exist."""
        return self._attempt("list", self.url, self._files.names)

    def folders(self) -> list[str]:
        """The sorted names of its directories; empty where it does not exist."""
        return self._attempt("list", self.url, self._files.folders)

    def exists(self, name: str) -> bool:
        """Whether the file exists. An answer that does not say so is an error, not a no."""
        return self._attempt("read", self.path(name), lambda: self._files.exists(name))

    def stamp(self, name: str) -> Stamp | None:
        """What tells whether a local file changed; None for a remote one, or one that does not exist."""
        return self._attempt("read", self.path(name), lambda: self._files.stamp(name))

    def read(self, name: str) -> bytes:
        """The content of a file, which must exist."""
        return self._attempt("read", self.path(name), lambda: self._files.read(name))

    def local_path(self, name: str) -> Path | None:
        """The path of a file of this machine; None for a remote one."""
        return self._files.path(name) if isinstance(self._files, LocalFiles) else None

    def checksum(self, name: str) -> str:
        """The SHA-256 of a file, which must exist; without holding it in memory where it is local."""
        path = self.local_path(name)
        if path is None:
            return bytes_checksum(self.read(name))
        return self._attempt("read", self.path(name), lambda: read_checksum(path))

    def write(self, name: str, data: bytes | memoryview, durable: bool = True) -> None:
        """Write a file so that a reader, or a crash, sees all of it or nothing.

        Locally: a temporary file in the same directory, flushed to disk, then renamed. Remotely: one PUT.

        Args:
            durable: False leaves the flush to `flush`: until then a loss of power, and nothing else, can tear the file.
        """
        self._attempt("write", self.path(name), lambda: self._files.write(name, data, durable))

    def create(self, name: str, data: bytes | memoryview, durable: bool = True) -> bool:
        """Write a file like `write`, unless it exists: of several writers one succeeds, where the place can hold them
        apart (local file systems with links, stores with conditional requests).

        Returns:
            whether it was written.
        """
        return self._attempt("write", self.path(name), lambda: self._files.create(name, data, durable))

    def flush(self, names: Sequence[str]) -> None:
        """Flush files that were written without it; many at once cost little more than one."""
        self._attempt("write", self.url, lambda: self._files.flush(names))

    def download(self, name: str, path: Path) -> None:
        """Copy a file, however large, to a path of this machine."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._attempt("read", self.path(name), lambda: self._files.download(name, temporary))
        os.replace(temporary, path)

    def upload(self, path: Path, name: str) -> None:
        """Copy a file of this machine, however large, to this directory."""
        self._attempt("write", self.path(name), lambda: self._files.upload(path, name))

    def delete(self, name: str) -> None:
        """Delete a file, where it exists."""
        self._attempt("delete", self.path(name), lambda: self._files.delete(name))

    def delete_all(self) -> None:
        """Delete the directory and all its files, where it exists."""
        self._attempt("delete", self.url, self._files.delete_all)

    def try_writing(self) -> None:
        """Find out whether files can be written, before work is done for them. It leaves nothing."""
        self._attempt("write", self.url, self._files.try_writing)

    def remove_temporaries(self) -> None:
        """Delete the temporary files of killed writers."""
        self._attempt("clean", self.url, self._files.remove_temporaries)

    def _attempt(self, action: str, where: str, operation: Callable[[], Result]) -> Result:
        return attempt(action, where, operation, self.is_local, self._progress)


def _is_path(url: str) -> bool:
    """Whether it is certainly the path of a local directory; what fsspec knows of it costs its import."""
    return not any(sign in url for sign in ("://", "::")) and not url.startswith(("~", "file:", "local:"))


def _opened(url: str) -> Files:
    """Raises InputError: the URL's protocol is unknown, or its driver is not installed."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    from grao_pipeline.storage.object_store import ObjectStore

    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except Exception as error:  # a driver's constructor raises its own classes
        raise InputError(f"Cannot open {url}: {reason_of(error)}.") from error
    root = root.rstrip("/")
    return LocalFiles(root) if isinstance(filesystem, LocalFileSystem) else ObjectStore(filesystem, root)
