"""A directory of small files, local or remote, in which a file appears whole or not at all."""

import os
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from grao_pipeline.errors import InputError
from grao_pipeline.storage.atomic import write_atomically


class Directory:
    """A directory named by a local path or an fsspec URL (`s3://`, `gs://`, `hf://`, `memory://`).

    Raises:
        InputError: the URL's protocol is unknown, or its driver is not installed.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        given = os.fspath(url)
        self.url = given if given.endswith("://") else given.rstrip("/") or "/"
        try:
            filesystem, root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise InputError(f"Cannot open {self.url}: {error}.") from error
        self._filesystem: Any = filesystem
        self._root: str = root.rstrip("/")
        self.is_local = isinstance(filesystem, LocalFileSystem)

    def path(self, name: str) -> str:
        """The URL of a file, for messages."""
        return f"{self.url}/{name}"

    def names(self) -> list[str]:
        """The sorted names of its files; empty where the directory does not exist."""
        self._filesystem.invalidate_cache()
        if not self._filesystem.isdir(self._root):
            return []
        entries = self._filesystem.ls(self._root, detail=True)
        return sorted(os.path.basename(e["name"]) for e in entries if e["type"] == "file")

    def folders(self) -> list[str]:
        """The sorted names of its directories; empty where it does not exist."""
        if not self._filesystem.isdir(self._root):
            return []
        entries = self._filesystem.ls(self._root, detail=True)
        return sorted(os.path.basename(e["name"].rstrip("/")) for e in entries if e["type"] == "directory")

    def exists(self, name: str) -> bool:
        """Whether the file exists."""
        return bool(self._filesystem.isfile(f"{self._root}/{name}"))

    def size(self, name: str) -> int:
        """The size of a file in bytes."""
        return int(self._filesystem.size(f"{self._root}/{name}"))

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            InputError: the file does not exist or cannot be read.
        """
        try:
            return bytes(self._filesystem.cat_file(f"{self._root}/{name}"))
        except OSError as error:
            raise InputError(f"Cannot read {self.path(name)}: {error.strerror or error}.") from error

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a file so that a reader, or a crash, sees all of it or nothing.

        Locally: a temporary file in the same directory, flushed to disk, then renamed. Remotely: one PUT.

        Raises:
            InputError: the file cannot be written.
        """
        try:
            if self.is_local:
                root = Path(self._root)
                root.mkdir(parents=True, exist_ok=True)
                write_atomically(root / name, data)
            else:
                self._filesystem.makedirs(self._root, exist_ok=True)
                self._filesystem.pipe_file(f"{self._root}/{name}", bytes(data))
        except OSError as error:
            raise InputError(f"Cannot write {self.path(name)}: {error.strerror or error}.") from error

    def delete(self, name: str) -> None:
        """Delete a file."""
        self._filesystem.rm_file(f"{self._root}/{name}")

    def delete_all(self) -> None:
        """Delete the directory and all its files, where it exists."""
        if self._filesystem.isdir(self._root):
            self._filesystem.rm(self._root, recursive=True)

    def remove_temporaries(self) -> None:
        """Delete the temporary files of killed writers."""
        for name in self.names():
            if name.startswith(".") and name.endswith(".tmp"):
                self.delete(name)
