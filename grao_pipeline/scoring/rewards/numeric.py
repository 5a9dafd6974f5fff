"""`numeric`: 1 where the completion's number is within a tolerance of the expected one, else 0."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

from grao_pipeline.scoring.rewards.arguments import non_negative_number, readable
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, take_arguments
from grao_pipeline.scoring.rewards.gsm8k import MARKERS, NUMBER

# Enough digits for any answer; what overflows becomes infinite, and is then no number.
ARITHMETIC = Context(prec=50, traps=[])
LATEX_FRACTION = re.compile(r"\\[dt]?frac\{\s*([-−]?[\d.,]+)\s*\}\{\s*([\d.,]+)\s*\}")
PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
QUANTITY = re.compile(
    rf"{NUMBER.pattern}"
    r"(?:[eE]([+-]?\d+)(?!\w)|\s*(?:×|[xX*]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{?\s*([+\-−]?\d+)\s*\}?)?"
    rf"(?:(?P<mixed>\s+\d+)?\s*/\s*(?P<denominator>{PLAIN})(?![\d/]))?"
    r"(?P<percent>\s*\\?%)?"
)


@dataclass(frozen=True)
class Quantity:
    """A number as it is written, e.g. `Quantity(Decimal("12.5"), percent=True)` for `12.5%`."""

    value: Decimal
    percent: bool


class Numeric:
    r"""Compares with the number in `metadata[field]`: |found − expected| ≤ max(absolute, relative · |expected|).

    Numbers may have thousands separators (`1,234.5`), an exponent (`1.5e3`, `1.5 × 10^3`), be fractions (`3/4`,
    `\frac{3}{4}`, `2 1/2`) or percentages. What stands behind a number (a unit) is not read and never converted. The
    percent sign may be missing on one side: `50%` is accepted for `50` and for `0.5`; where both have it or neither
    has it, the numbers are compared as they are. The comma is never a decimal sign.

    The completion's number is the first one behind the last answer marker (as for `gsm8k`), or the last one of the
    text where there is no marker.

    1: within the tolerance. 0: it is not, or the completion holds no number. null + `error`: the metadata holds none.

    Arguments: field (answer), absolute (0), relative (1e-6).

    Raises:
        UsageError: a tolerance is not a number of at least 0.
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        taken = take_arguments("numeric", arguments, field="answer", absolute="0", relative="1e-6")
        self._field = taken["field"]
        self._absolute = non_negative_number("numeric", "absolute", taken["absolute"])
        self._relative = non_negative_number("numeric", "relative", taken["relative"])

    def identity(self) -> Mapping[str, Any]:
        return {"field": self._field, "absolute": self._absolute, "relative": self._relative, "version": 1}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        if candidate.metadata.get(self._field) is None:
            return Judgement(None, "error", f"metadata has no '{self._field}' to compare with")
        expected = final_quantity(str(candidate.metadata[self._field]))
        if expected is None:
            return Judgement(None, "error", f"metadata '{self._field}' holds no number")
        found = final_quantity(candidate.completion)
        if found is None:
            return Judgement.of(0.0, "no final number")
        detail = readable(f"final number {found.value:.12g}{'%' if found.percent else ''}")
        return Judgement.of(float(self._is_near(found, expected)), detail)

    def _is_near(self, found: Quantity, expected: Quantity) -> bool:
        if found.percent == expected.percent:
            return self._within(found.value, expected.value)
        return any(self._within(value, other) for value in _readings(found) for other in _readings(expected))

    def _within(self, found: Decimal, expected: Decimal) -> bool:
        allowed = max(Decimal(self._absolute), ARITHMETIC.multiply(Decimal(self._relative), abs(expected)))
        return abs(ARITHMETIC.subtract(found, expected)) <= allowed


def final_quantity(text: str) -> Quantity | None:
    r"""The number that a worked solution ends in, or None.

    >>> final_quantity(r"So the share is \frac{3}{4}, in other words: the answer is 75\%.")
    Quantity(value=Decimal('75'), percent=True)
    """
    text = LATEX_FRACTION.sub(r" \1/\2", text)
    markers = list(MARKERS.finditer(text))
    if markers:
        behind = QUANTITY.search(text, markers[-1].end())
        if behind is not None:
            return _quantity(behind)
    quantities = list(QUANTITY.finditer(text))
    return _quantity(quantities[-1]) if quantities else None


def _quantity(match: re.Match[str]) -> Quantity | None:
    sign, digits, exponent, power = match.groups()[:4]
    value = _decimal(digits)
    if exponent or power:
        value = ARITHMETIC.multiply(value, _decimal(f"1e{(exponent or power).replace('−', '-')}"))
    if match["denominator"] is not None:
        denominator = _decimal(match["denominator"])
        if match["mixed"] is None:
            value = ARITHMETIC.divide(value, denominator)
        else:
            value = ARITHMETIC.add(value, ARITHMETIC.divide(_decimal(match["mixed"].strip()), denominator))
    if not value.is_finite():
        return None
    return Quantity(value.copy_negate() if sign else value, match["percent"] is not None)


def _decimal(digits: str) -> Decimal:
    return ARITHMETIC.create_decimal(digits.replace(",", ""))


def _readings(quantity: Quantity) -> list[Decimal]:
    """What a quantity can be compared as, where the other side is written otherwise."""
    return [quantity.value, quantity.value / 100] if quantity.percent else [quantity.value]
