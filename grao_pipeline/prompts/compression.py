"""The text of a source file, possibly compressed, in bounded memory: a small file may expand to any size."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from grao_pipeline.errors import InputError
from grao_pipeline.files import cannot_read, check_file

COMPRESSIONS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
LONGEST_LINE = 64 * 2**20
"""Characters. A longer line is not a row that anyone wrote."""
LARGEST_WHOLE = 2**30
"""Characters of a file that is read as one value."""
PIECE = 2**24
"""Characters that are read at once."""
LARGEST_EXPANSION = 500
"""Text compresses ten-fold, one row repeated a hundred-fold, what is written to exhaust memory a thousand-fold."""
FREE_EXPANSION = 4 * 2**20
"""Bytes that may come out of a compressed file of any size."""


class SourceText:
    """The opened text of a file. `open_text` makes one."""

    def __init__(self, path: Path, file: io.TextIOWrapper) -> None:
        self._path = path
        self._file = file

    def lines(self) -> Iterator[str]:
        """The lines, with their line breaks.

        Raises:
            InputError: a line is longer than `LONGEST_LINE`.
        """
        number = 0
        while line := self._file.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise InputError(f"{self._path}, line {number}: it is longer than {LONGEST_LINE} characters.")
            yield line

    def whole(self) -> str:
        """All of it.

        Raises:
            InputError: it is larger than `LARGEST_WHOLE`.
        """
        pieces: list[str] = []
        while sum(map(len, pieces)) <= LARGEST_WHOLE:
            piece = self._file.read(PIECE)  # more at once would allocate as much
            if not piece:
                return "".join(pieces)
            pieces.append(piece)
        raise InputError(
            f"Cannot read {self._path}: it is larger than {LARGEST_WHOLE >> 20} MiB, too large for one JSON value. "
            "Write its rows as JSON Lines, a row per line, to a file that ends in .jsonl."
        )


@contextmanager
def open_text(path: Path, newline: str = "\n") -> Iterator[SourceText]:
    """Open a text file; one whose ending is in `COMPRESSIONS` is decompressed.

    Raises:
        InputError: the file cannot be read, is not UTF-8 text, or expands more than `LARGEST_EXPANSION`-fold.
    """
    check_file(path)
    try:
        with open(path, "rb") as file:
            bytes_ = _decompressed(path, file)
            with io.TextIOWrapper(bytes_, encoding="utf-8-sig", newline=newline) as text:
                yield SourceText(path, text)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}).") from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise InputError(f"Cannot read {path}: its compressed data is damaged ({error}).") from error
    except OSError as error:
        raise cannot_read(path, error) from error


def _decompressed(path: Path, file: IO[bytes]) -> IO[bytes]:
    compression = COMPRESSIONS.get(path.suffix.lower())
    if compression is None:
        return file
    return io.BufferedReader(_Bounded(path, file, compression(file)), 2**16)


class _Bounded(io.RawIOBase):
    """What comes out of a compressed file, as long as it is not far more than what went in."""

    def __init__(self, path: Path, file: IO[bytes], decompressed: IO[bytes]) -> None:
        self._path, self._compressed, self._decompressed = path, file, decompressed
        self._num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._decompressed.read(len(buffer))
        buffer[: len(data)] = data
        self._num_bytes += len(data)
        if self._num_bytes > max(FREE_EXPANSION, LARGEST_EXPANSION * self._compressed.tell()):
            raise InputError(
                f"Cannot read {self._path}: it expands more than {LARGEST_EXPANSION}-fold, which is not text. "
                "Decompress it first where that is meant."
            )
        return len(data)
