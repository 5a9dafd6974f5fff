"""A checksum that a part carries in its own metadata, so that it can be verified before a manifest names it.

The file cannot hold a hash of itself. It is written with zeros in that place, and the hash is of the bytes around them
and of the file's name. Locating it takes no Parquet reader, which damaged bytes could lead astray.
"""

import hashlib

from grao_pipeline.errors import DamagedPart

KEY = b"grao_sha256"
DIGITS = 64
SEAL_METADATA = {KEY: b"0" * DIGITS}
"""The key-value metadata of a part that is not sealed yet."""
_BEFORE_DIGEST = KEY + b"\x18" + bytes([DIGITS])
"""The key, and what the encoding of Parquet's footer puts before its value: a field's type and the length."""


def sealed(data: bytes, name: str) -> bytes:
    """The bytes of a part whose metadata are `SEAL_METADATA`, with the checksum in its place."""
    start = data.rindex(_BEFORE_DIGEST) + len(_BEFORE_DIGEST)
    end = start + DIGITS
    assert data[start:end] == SEAL_METADATA[KEY], "the part is sealed already"
    return b"".join((data[:start], _digest(data, start, end, name), data[end:]))


def has_seal(data: bytes) -> bool:
    """Whether the bytes have a place for the checksum."""
    return _BEFORE_DIGEST in data


def verify_seal(data: bytes, name: str, where: str) -> None:
    """Check that the bytes are those that were written under this name.

    Raises:
        DamagedPart: they are not.
    """
    place = data.rfind(_BEFORE_DIGEST)
    start = place + len(_BEFORE_DIGEST)
    end = start + DIGITS
    if place < 0 or data[start:end] != _digest(data, start, end, name):
        raise DamagedPart(f"{where} is damaged: its bytes are not those that were written.")


def _digest(data: bytes, start: int, end: int, name: str) -> bytes:
    view = memoryview(data)
    digest = hashlib.sha256(view[:start])
    digest.update(view[end:])
    digest.update(name.encode())
    return digest.hexdigest().encode()
