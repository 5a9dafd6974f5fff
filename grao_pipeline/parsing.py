"""What users write inside an option: key=value pairs, and the numbers in them."""

import math
from collections.abc import Sequence

from grao_pipeline.errors import UsageError


def key_values(pairs: Sequence[str], option: str) -> dict[str, str]:
    """Parse the values of a repeatable key=value option.

    Args:
        option: the field of the options model that holds them, e.g. `reward_arg`.

    Raises:
        UsageError: a pair has no '='.
    """
    values = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(f"{pair!r}: expected key=value.", option=option)
        values[key] = value
    return values


def shown(value: object, most: int = 200) -> str:
    """A value for a message: its `repr`, of bounded length; Python does not write numbers with thousands of digits."""
    try:
        text = repr(value)
    except ValueError:
        return "a number with thousands of digits"
    return text if len(text) <= most else f"{text[:most]}…"


def check_text(text: str) -> None:
    """Check for what no path, file or message can hold.

    Raises:
        ValueError: a NUL character, or half a character.
    """
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it is not valid Unicode") from error


def weighted(text: str, form: str) -> tuple[str, float | None]:
    """`PATH=WEIGHT` as both; the whole text and None where it has no weight.

    Args:
        form: how it is written, for the message.

    Raises:
        ValueError: the weight is not a number.
    """
    place, separator, weight = text.rpartition("=")
    if not separator:
        return text, None
    number = finite_number(weight)
    if number is None:
        raise ValueError(f"the weight {weight!r} is not a number; write {form}")
    return place, number


def finite_number(value: object) -> float | None:
    """The value as a number; None where it is not one, or is infinite or NaN."""
    if not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
