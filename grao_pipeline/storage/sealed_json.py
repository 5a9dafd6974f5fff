"""JSON objects with a checksum of themselves: a small file that is verified, or refused by name, when it is read."""

import json
from pathlib import Path
from typing import Any

from grao_pipeline.checksums import bytes_checksum
from grao_pipeline.errors import InputError

SEAL = "sha256"
"""The key of the checksum: that of the object without it, as compact JSON with sorted keys."""


def sealed(value: dict[str, Any]) -> bytes:
    """The text of an object, its checksum included.

    Example: `sealed({"step": 2})` is `{"sha256": "6b…", "step": 2}`.
    """
    return f"{json.dumps({**value, SEAL: _checksum(value)}, indent=1, sort_keys=True)}\n".encode()


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """The object in a file, without its checksum.

    Args:
        remedy: a sentence on what to do about a damaged file.

    Raises:
        InputError: the file cannot be read, or it is not what was written.
    """
    try:
        return unsealed(path.read_bytes())
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}. {remedy}") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}). {remedy}") from error


def unsealed(data: bytes) -> dict[str, Any]:
    """The object in a text of `sealed`, without its checksum.

    Raises:
        ValueError: it is not what was written; says why.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(value, dict) or SEAL not in value:
        raise ValueError(f"no object with a checksum '{SEAL}'")
    seal = value.pop(SEAL)
    if seal != _checksum(value):
        raise ValueError("its checksum does not fit its content")
    return value


def _checksum(value: dict[str, Any]) -> str:
    return bytes_checksum(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
