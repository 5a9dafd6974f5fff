"""`numeric`: 1 where the completion's number is within a tolerance of the expected one, else 0."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal

from pydantic import NonNegativeFloat

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward
from grao_pipeline.scoring.rewards.common import readable
from grao_pipeline.scoring.rewards.gsm8k import MARKERS, NUMBER

# Enough digits for any answer; a number that overflows becomes infinite, and is rejected as not finite.
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
    """A number as the text writes it, e.g. `Quantity(Decimal("12.5"), percent=True)` for `12.5%`."""

    value: Decimal
    percent: bool


class Numeric(Reward):
    r"""1 if the completion's number is within a tolerance of the expected one, else 0.

    The tolerance: |number − expected| ≤ max(absolute, relative · |expected|).

    Numbers may have thousands separators (`1,234.5`), an exponent (`1.5e3`, `1.5 × 10^3`), be fractions (`3/4`,
    `\frac{3}{4}`, `2 1/2`) or percentages. A unit after a number is ignored and never converted. The percent sign may
    be missing on one side: `50%` is accepted for `50` and for `0.5`; where both sides have it, or neither, the numbers
    are compared as they are. The comma is never a decimal sign.

    The completion's number is the first one after the last answer marker (as for `gsm8k`), or the last one of the text
    where it has no marker.

    1: within the tolerance. 0: outside it, or the completion has no number. null + `error`: the metadata has no number.
    """

    class Arguments(PluginArguments):
        field: str = argument("answer", "Metadata key of the expected number.")
        absolute: NonNegativeFloat = argument(0.0, "Largest allowed difference.")
        relative: NonNegativeFloat = argument(1e-6, "Largest allowed difference as a share of the expected number.")

    arguments: Arguments

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), "version": 1}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        field = self.arguments.field
        if candidate.metadata.get(field) is None:
            return Judgement(None, "error", f"metadata has no '{field}' to compare with")
        expected = final_quantity(str(candidate.metadata[field]))
        if expected is None:
            return Judgement(None, "error", f"metadata '{field}' holds no number")
        quantity = final_quantity(candidate.completion)
        if quantity is None:
            return Judgement.of(0.0, "no final number")
        detail = readable(f"final number {quantity.value:.12g}{'%' if quantity.percent else ''}")
        return Judgement.of(self._is_near(quantity, expected), detail)

    def _is_near(self, quantity: Quantity, expected: Quantity) -> bool:
        if quantity.percent == expected.percent:
            return self._is_within_tolerance(quantity.value, expected.value)
        pairs = itertools.product(_readings(quantity), _readings(expected))
        return any(self._is_within_tolerance(value, other) for value, other in pairs)

    def _is_within_tolerance(self, value: Decimal, expected: Decimal) -> bool:
        absolute, relative = Decimal(self.arguments.absolute), Decimal(self.arguments.relative)
        tolerance = max(absolute, ARITHMETIC.multiply(relative, abs(expected)))
        return abs(ARITHMETIC.subtract(value, expected)) <= tolerance


def final_quantity(text: str) -> Quantity | None:
    r"""The number that a worked solution ends in, or None.

    >>> final_quantity(r"So the share is \frac{3}{4}, in other words: the answer is 75\%.")
    Quantity(value=Decimal('75'), percent=True)
    """
    text = LATEX_FRACTION.sub(r" \1/\2", text)
    markers = list(MARKERS.finditer(text))
    if markers:
        marked = QUANTITY.search(text, markers[-1].end())
        if marked is not None:
            return _quantity(marked)
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
    """The values that a quantity may stand for where only one side has a percent sign."""
    return [quantity.value, quantity.value / 100] if quantity.percent else [quantity.value]
