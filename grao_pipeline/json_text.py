"""The reader of JSON that others wrote: of bounded depth, with null for the numbers that JSON does not have."""

import json
import math
from pathlib import Path
from typing import Any

from grao_pipeline.errors import InputError
from grao_pipeline.files import read_text

DEEPEST = 100
"""Levels of lists and objects. Python's recursion ends near 1,000; where a function walks through a value, earlier."""


class InvalidJson(ValueError):
    """A text that is not JSON, or is nested too deeply.

    Attributes:
        line: of the mistake, from 1; None where it is in no single line.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def parse_json(text: str | bytes, *, keep_infinity: bool = False) -> Any:
    """The value of a JSON text. `NaN`, by which pandas writes a null, is null.

    Args:
        keep_infinity: infinities, and numbers beyond a float, are infinite floats; otherwise they are null as well.

    Raises:
        InvalidJson: the text is not JSON, nested deeper than `DEEPEST`, or has a number with thousands of digits.
    """

    def number(text: str) -> float | None:
        value = float(text)
        return value if math.isfinite(value) or (keep_infinity and not math.isnan(value)) else None

    try:
        value = json.loads(text, parse_constant=number, parse_float=None if keep_infinity else number)
    except json.JSONDecodeError as error:
        raise InvalidJson(error.msg, error.lineno) from error
    except UnicodeDecodeError as error:
        raise InvalidJson(f"not UTF-8 text: {error}") from error
    except ValueError as error:
        raise InvalidJson("a number has thousands of digits") from error
    except RecursionError:
        raise InvalidJson(f"nested deeper than {DEEPEST} levels") from None
    brackets = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if brackets > DEEPEST and _is_deeper(value, DEEPEST):
        raise InvalidJson(f"nested deeper than {DEEPEST} levels")
    return value


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The value of a JSON text that must be an object.

    Raises:
        InvalidJson: it is not.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise InvalidJson(f"expected an object, found {text[:40]!r}")
    return value


def read_json_file(path: str | Path) -> Any:
    """The value of a JSON file that a person or another program wrote.

    Raises:
        InputError: the file cannot be read, or is not JSON.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except InvalidJson as error:
        where = f"{path}, line {error.line}" if error.line else f"{path}"
        raise InputError(f"{where}: not valid JSON ({error}).") from error


def _is_deeper(value: object, most: int) -> bool:
    """Whether lists and objects are nested deeper than `most` levels; goes level by level, without recursion."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        children = (parent.values() if isinstance(parent, dict) else parent for parent in level)
        level = [item for items in children for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return bool(level)
