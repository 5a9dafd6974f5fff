"""What several rewards' arguments and details have in common."""

import math
import os

from grao_pipeline.errors import UsageError

MOST_WORKERS = 8
LONGEST_DETAIL = 300


def positive_integer(reward: str, name: str, value: str, least: int = 1) -> int:
    """Raises UsageError where `value` is no whole number of at least `least`."""
    if not (value.isascii() and value.isdecimal()) or int(value) < least:
        raise UsageError(f"--reward-arg {name}={value}: reward '{reward}' needs a whole number of at least {least}.")
    return int(value)


def positive_number(reward: str, name: str, value: str) -> float:
    """Raises UsageError where `value` is no number above 0."""
    number = non_negative_number(reward, name, value)
    if number == 0:
        raise UsageError(f"--reward-arg {name}={value}: reward '{reward}' needs a number above 0.")
    return number


def non_negative_number(reward: str, name: str, value: str) -> float:
    """Raises UsageError where `value` is no number of at least 0."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise UsageError(f"--reward-arg {name}={value}: reward '{reward}' needs a number that is not negative.")
    return number


def default_workers() -> str:
    """As many processes as the machine has cores, within reason."""
    return str(min(MOST_WORKERS, os.cpu_count() or 1))


def readable(text: str) -> str:
    """A detail for a table: what the judged text provoked may be endless, or no valid Unicode."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST_DETAIL else text[: LONGEST_DETAIL - 1] + "…"
