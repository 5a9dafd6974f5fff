"""Sizes and checksums of files: recorded when the files are written, verified when they are read."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grao_pipeline.checksums import file_checksum


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 of a file.

    Example: `FileRecord(213120, "9f…")`
    """

    bytes: int
    sha256: str

    @staticmethod
    def of(path: Path) -> "FileRecord":
        """Raises OSError: the file cannot be read."""
        return FileRecord(path.stat().st_size, file_checksum(path))


FileRecords = Mapping[str, FileRecord]
"""By the path of the file, relative to a directory."""


def record_files(root: Path, names: Iterable[str]) -> dict[str, FileRecord]:
    """The records of files, which are read side by side.

    Raises:
        OSError: a file cannot be read.
    """
    names = sorted(names)
    with ThreadPoolExecutor() as pool:  # hashlib releases the interpreter's lock
        return dict(zip(names, pool.map(FileRecord.of, [root / name for name in names]), strict=True))


def parse_records(value: Mapping[str, Mapping[str, Any]]) -> dict[str, FileRecord]:
    """From JSON.

    Raises:
        TypeError: a record has other fields.
    """
    return {name: FileRecord(**record) for name, record in value.items()}


def first_difference(root: Path, records: FileRecords) -> str | None:
    """What is wrong with the first file that is not as it was recorded; None where all are.

    Example: `out/model.safetensors is damaged: it has 100000 bytes, and 213120 were written`
    """
    for name, record in records.items():  # all sizes first: they cost nothing
        path = root / name
        try:
            size = path.stat().st_size
        except OSError as error:
            return f"{path} is damaged: {error.strerror or error}"
        if size != record.bytes:
            return f"{path} is damaged: it has {size} bytes, and {record.bytes} were written"
    try:
        current = record_files(root, records)
    except OSError as error:
        return f"{error.filename or root} cannot be read: {error.strerror or error}"
    wrong = next((name for name in sorted(records) if current[name] != records[name]), None)
    return None if wrong is None else f"{root / wrong} is damaged: its SHA-256 is not that of what was written"
