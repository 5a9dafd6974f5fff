"""Numbers that change over a training or over rounds: shapes, as functions of the share that is done."""

import math
import re
from collections.abc import Callable

from grao_pipeline.errors import UsageError
from grao_pipeline.parsing import finite_number

TURN = 0.3
"""Where a dip turns, from arXiv 2503.16081."""
WRITTEN = re.compile(r"([a-z]+)\((.*)\)")


def linear(share: float, start: float, end: float) -> float:
    """`start` at 0, `end` at 1."""
    return (1 - share) * start + share * end


def cosine(share: float, start: float, end: float) -> float:
    """As `linear`, with (1 − cos πt) / 2 for t."""
    return linear((1 - math.cos(math.pi * share)) / 2, start, end)


def dip(share: float, low: float, high: float) -> float:
    """From the middle of both down to `low` at 0.3, then up to `high`: GRPO-D (arXiv 2503.16081)."""
    if share <= TURN:
        return linear(share / TURN, (low + high) / 2, low)
    return linear((share - TURN) / (1 - TURN), low, high)


SHAPES: dict[str, Callable[[float, float, float], float]] = {"linear": linear, "cosine": cosine, "dip": dip}


def parse_course(text: str, option: str) -> Callable[[float], float] | None:
    """`linear(0.1, 0)` as a function of the share that is done, from 0 to 1; None for any other text.

    Raises:
        UsageError: it has not two numbers.
    """
    match = WRITTEN.fullmatch(text.strip())
    if match is None or match[1] not in SHAPES:
        return None
    numbers = [finite_number(part.strip()) for part in match[2].split(",")]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        raise UsageError(f"{text!r}: expected two numbers, e.g. {match[1]}(0.1, 0).", option=option)
    shape, start, end = SHAPES[match[1]], numbers[0], numbers[1]
    return lambda share: shape(share, start, end)
