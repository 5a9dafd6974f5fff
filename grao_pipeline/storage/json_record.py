"""A small JSON object in a file, which carries a checksum of itself."""

import json
from collections.abc import Mapping
from typing import Any

from grao_pipeline.checksums import bytes_checksum
from grao_pipeline.errors import DamagedPart, MismatchError
from grao_pipeline.storage.directory import Directory

CHECKSUM = "sha256"
"""The key of the checksum: of the other keys, sorted, as compact JSON."""


def write_record(directory: Directory, name: str, value: Mapping[str, object], indent: int | None = None) -> None:
    """Write an object.

    Raises:
        InputError: the file cannot be written.
    """
    plain = json.loads(json.dumps(value))  # tuples become lists, as they will be read
    text = json.dumps({**plain, CHECKSUM: _checksum(plain)}, indent=indent, sort_keys=True)
    directory.write(name, f"{text}\n".encode())


def read_record(directory: Directory, name: str) -> dict[str, Any] | None:
    """The object in a file; None where there is no such file.

    Raises:
        DamagedPart: it is not the object that was written.
        MismatchError: another program wrote it.
        InputError: the file cannot be read.
    """
    if not directory.exists(name):
        return None
    data = directory.read(name)
    try:
        value = json.loads(data)
        if not isinstance(value, dict):
            raise ValueError("it is not a JSON object")
        if CHECKSUM not in value:
            raise MismatchError(
                f"{directory.path(name)} was not written by this program. Choose another place, or delete the file."
            )
        if value.pop(CHECKSUM) != _checksum(value):
            raise ValueError("its content is not what was written")
    except (ValueError, RecursionError) as error:
        raise DamagedPart(f"{directory.path(name)} is damaged ({error}).") from error
    return dict(value)


def _checksum(value: Mapping[str, object]) -> str:
    return bytes_checksum(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
