"""The files of a directory at a URL, by the driver that fsspec has for it."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from fsspec.spec import AbstractFileSystem

from grao_pipeline.storage.atomic import is_temporary
from grao_pipeline.storage.outside_errors import http_status

WITH_DIRECTORIES = {"sftp", "ssh", "hdfs", "arrow_hdfs", "webhdfs", "smb", "webdav", "ftp", "dbfs"}
"""Protocols whose directories must be made. In the others a directory is a part of a name, and making one of them may
make a bucket."""
ABSENT = (FileNotFoundError, NotADirectoryError)


class ObjectStore:
    """A directory of an object store, or of another remote file system. Its methods raise what the driver raises."""

    def __init__(self, filesystem: AbstractFileSystem, root: str) -> None:
        self._filesystem: Any = filesystem  # fsspec's methods are not typed
        self._root = root
        protocols = {filesystem.protocol} if isinstance(filesystem.protocol, str) else set(filesystem.protocol)
        self._makes_directories = bool(protocols & WITH_DIRECTORIES)

    def names(self) -> list[str]:
        return self._entries("file")

    def folders(self) -> list[str]:
        return self._entries("directory")

    def exists(self, name: str) -> bool:
        try:  # not `isfile`, which takes every error for absence
            return bool(self._uncached().info(self._path(name))["type"] == "file")
        except ABSENT:
            return False

    def stamp(self, name: str) -> None:
        return None

    def read(self, name: str) -> bytes:
        return bytes(self._uncached().cat_file(self._path(name)))

    def write(self, name: str, data: bytes | memoryview, durable: bool = True) -> None:
        if self._makes_directories:
            self._filesystem.makedirs(self._root, exist_ok=True)
        self._filesystem.pipe_file(self._path(name), bytes(data))

    def create(self, name: str, data: bytes | memoryview, durable: bool = True) -> bool:
        """Write a new file, by a conditional request where the driver has one; False where it exists."""
        if self._makes_directories:
            self._filesystem.makedirs(self._root, exist_ok=True)
        if not self._writes_conditionally():
            if self.exists(name):
                return False
            self._filesystem.pipe_file(self._path(name), bytes(data))
            return True
        try:
            self._filesystem.pipe_file(self._path(name), bytes(data), mode="create")
        except FileExistsError:
            return False
        except Exception as error:  # drivers and servers tell it in many ways
            status = http_status(error)
            if status == 501:  # a server that does not know the condition
                self._filesystem.pipe_file(self._path(name), bytes(data))
            elif status == 412:
                return False
            else:
                raise
        return True

    def flush(self, names: Sequence[str]) -> None:
        """Nothing to do: a store answers when it holds a file for good."""

    def download(self, name: str, path: Path) -> None:
        self._uncached().get_file(self._path(name), str(path))

    def upload(self, path: Path, name: str) -> None:
        if self._makes_directories:
            self._filesystem.makedirs(self._root, exist_ok=True)
        self._filesystem.put_file(str(path), self._path(name))

    def delete(self, name: str) -> None:
        try:
            self._filesystem.rm_file(self._path(name))
        except FileNotFoundError:
            return

    def delete_all(self) -> None:
        if self._entries(None):
            self._filesystem.rm(self._root, recursive=True)

    def try_writing(self) -> None:
        """Write a file and delete it."""
        name = f".{uuid4().hex}.tmp"
        self.write(name, b"")
        self.delete(name)

    def remove_temporaries(self) -> None:
        for name in filter(is_temporary, self.names()):
            self.delete(name)

    def _uncached(self) -> AbstractFileSystem:
        """The driver, which answers from no list that it remembers: other processes write, too."""
        self._filesystem.invalidate_cache()
        return self._filesystem

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _entries(self, kind: str | None) -> list[str]:
        """Names of the files or directories in this one, or of both; empty where it does not exist."""
        try:
            entries = self._uncached().ls(self._root, detail=True)
        except ABSENT:
            return []
        inside = [entry for entry in entries if entry["name"].rstrip("/") != self._root]  # a file lists itself
        return sorted(e["name"].rstrip("/").rpartition("/")[2] for e in inside if kind in (None, e["type"]))

    def _writes_conditionally(self) -> bool:
        method = getattr(self._filesystem, "_pipe_file", self._filesystem.pipe_file)
        return "mode" in inspect.signature(method).parameters
