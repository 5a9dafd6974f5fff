"""One JSON text for one value, independent of the file format and of the other rows that it was read with.

A null counts as absent, so that a column which only some rows have does not change the others. A float that is a whole
number is written as an integer (as in RFC 8785), so that an integer column that was read as floats stays the same.
"""

import datetime
import decimal
import json
import math
from collections.abc import Mapping

LARGEST_EXACT_INTEGER = 2**53


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces; e.g. `{"b": 1.0, "a": None}` → `{"b":1}`.

    Raises:
        TypeError: a part of the value has no JSON form (bytes, an image).
    """
    return json.dumps(plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def is_missing(value: object) -> bool:
    """Whether a value is null, or NaN, by which pandas writes a null."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def without_nan(value: object) -> object:
    """`value` with null for every NaN in it, at any depth."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list) else value


def plain(value: object) -> object:
    """`value` in the types of JSON: without the nulls of objects, dates as ISO 8601, NaN and infinity as null.

    Raises:
        TypeError: a part of the value has no JSON form.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < LARGEST_EXACT_INTEGER else value
    if isinstance(value, Mapping):
        items = ((str(key), plain(item)) for key, item in value.items())
        return {key: item for key, item in items if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return plain(value.total_seconds())
    if isinstance(value, decimal.Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON: {value!r:.80}")
