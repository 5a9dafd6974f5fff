"""Text files that people write: options, YAML, templates, schemas. Anything else at their path is refused by name."""

import os
import stat
from pathlib import Path

from grao_pipeline.errors import InputError

LARGEST_TEXT = 16 * 2**20
"""Bytes; what people write is far smaller."""
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_file(path: str | Path) -> None:
    """Check that a path names a regular file: nobody may ever write to a pipe, and a device never ends.

    Raises:
        InputError: it names something else, or nothing.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        raise cannot_read(path, error) from error
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise InputError(f"Cannot read {printable(str(path))}: expected a file, found {kind}.")


def read_text(path: str | Path, largest: int = LARGEST_TEXT) -> str:
    """The text of a file that a person wrote.

    Args:
        largest: bytes of a file that is not refused.

    Raises:
        InputError: the file cannot be read, is too large or is not UTF-8 text.
    """
    check_file(path)
    try:
        with open(path, "rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise cannot_read(path, error) from error
    if len(data) > largest:
        raise InputError(f"Cannot read {printable(str(path))}: it is larger than {largest >> 20} MiB.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}).") from error


def cannot_read(path: str | Path, error: OSError | ValueError) -> InputError:
    """The error of a file that the operating system does not read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"Cannot read {printable(str(path))}: {reason}.")


def printable(text: str, most: int = 300) -> str:
    """A path or another text for a message: on one line and of bounded length."""
    shown = text if text.isprintable() else ascii(text)
    return shown if len(shown) <= most else f"{shown[:most]}…"
