"""What users write inside an option: key=value pairs, and numbers in them."""

import math
from typing import Any

from grao_pipeline.errors import UsageError


def key_values(pairs: list[str], option_name: str) -> dict[str, str]:
    """Parse a repeatable key=value option.

    Raises:
        UsageError: a pair has no '='.
    """
    parsed = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(f"{option_name} {pair!r}: expected key=value.")
        parsed[key] = value
    return parsed


def finite_number(written: Any) -> float | None:
    """The number that is written; None where it is none, or infinite, or NaN."""
    try:
        number = float(written)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
