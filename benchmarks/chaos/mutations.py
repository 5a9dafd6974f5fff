"""Values that nobody expects, and changes of JSON values, of JSON texts and of bytes; all drawn from a generator."""

import copy
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARKS = {
    '"@deep@"': "[" * 5_000 + "]" * 5_000,
    '"@open@"': "[" * 5_000,
    '"@digits@"': "9" * 5_000,
    '"@exponent@"': "1e999",
    '"@nan@"': "NaN",
    '"@infinity@"': "-Infinity",
    '"@surrogate@"': '"a\\ud800b"',
    '"@nothing@"': "",
    '"@twice@"': '1, "prompt": 2',
}
"""What `json.dumps` does not write: put into its text in the place of these."""
SCALARS: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**31, -(2**31) - 1, 2**62, 2**63, 10**40, 1e308, -0.0, "", " ", "\n", "0", "NaN"),
    *("\0", "a\0b", "\u202e", "\x1b[31m", "\ufeff", "é" * 50, "x" * 100_000, "{", "[1", '{"a":', "null", "[]", "{}"),
    *("user", "assistant", "tool", "system", "<|im_start|>", "<|im_end|>", "</think>", "<think>", "text", "stop"),
    *("https://[", "s3://", "../..", "/dev/zero", "a" * 300, "$(id)", "${round}", "{{ 1 }}", "\\frac{1}{0}"),
    *(mark.strip('"') for mark in MARKS),
)
CONTAINERS: tuple[Any, ...] = (
    [],
    {},
    [[]],
    [{}],
    [None],
    {"": {}},
    {"role": "user"},
    {"type": "text"},
    {"a": [1, "b"]},
)


def odd_value(generator: random.Random) -> Any:
    """A value that fits nowhere."""
    return copy.deepcopy(generator.choice(SCALARS if generator.random() < 0.7 else CONTAINERS))


def changed(value: Any, generator: random.Random, changes: int = 1) -> Any:
    """A copy of a JSON value with something in it replaced, removed, repeated, renamed or wrapped."""
    value = json.loads(json.dumps(value))
    for _ in range(changes):
        value = _changed_once(value, generator)
    return value


def _changed_once(value: Any, generator: random.Random) -> Any:
    if isinstance(value, dict | list) and value and generator.random() < 0.85:
        places: Sequence[Any] = list(value) if isinstance(value, dict) else range(len(value))
        place = generator.choice(places)
        action = generator.random()
        if action < 0.6:
            value[place] = _changed_once(value[place], generator)
        elif action < 0.8:
            value[place] = odd_value(generator)
        elif action < 0.9:
            del value[place]
        elif isinstance(value, dict):
            value[str(odd_value(generator))] = value.pop(place)
        else:
            value.insert(place, value[generator.choice(range(len(value)))])
        return value
    return [value] if generator.random() < 0.1 else odd_value(generator)


def json_text(value: Any, generator: random.Random) -> str:
    """JSON, or nearly."""
    text = json.dumps(value, ensure_ascii=generator.random() < 0.5)
    for mark, replacement in MARKS.items():
        text = text.replace(mark, replacement)
    return text


def encoded(text: str) -> bytes:
    """UTF-8, with unpaired surrogates as they are, which is not UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def broken(data: bytes, generator: random.Random) -> bytes:
    """A copy of some bytes with a few flipped, overwritten, cut out, repeated or put in."""
    array = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        if not array:
            break
        start = generator.randrange(len(array))
        end = min(len(array), start + generator.choice((1, 2, 8, 64, 1024)))
        action = generator.randrange(6)
        if action == 0:
            array[start] ^= 1 << generator.randrange(8)
        elif action == 1:
            array[start:end] = generator.randbytes(end - start)
        elif action == 2:
            del array[start:end]
        elif action == 3:
            array[start:start] = array[start:end]
        elif action == 4:
            array[start:start] = generator.choice(
                (b"\0", b"\xff\xfe", b"\n", b'"', b"[" * 3_000, b"\xed\xa0\x80", b"\r")
            )
        else:
            del array[start:]
    return bytes(array)


def break_file(path: Path, generator: random.Random) -> None:
    """Change a value in a JSON file or in the header of a safetensors file, or bytes of any file."""
    data = path.read_bytes()
    if generator.random() < 0.6 and path.suffix == ".json":
        path.write_bytes(encoded(json_text(changed(json.loads(data), generator, generator.randint(1, 2)), generator)))
    elif generator.random() < 0.6 and path.suffix == ".safetensors":
        size = int.from_bytes(data[:8], "little")
        header = encoded(json_text(changed(json.loads(data[8 : 8 + size]), generator), generator))
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
    else:
        path.write_bytes(broken(data, generator))
