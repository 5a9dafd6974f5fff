"""`numeric`: 1 where the completion's number is within a tolerance of the expected one, else 0."""

from collections.abc import Mapping
from decimal import Decimal

from pydantic import NonNegativeFloat

from grao_pipeline.arguments import argument
from grao_pipeline.scoring.rewards.final_number import FinalNumberReward
from grao_pipeline.scoring.rewards.quantities import ARITHMETIC, Quantity, readings


class Numeric(FinalNumberReward):
    r"""1 if the completion's number is within a tolerance of the expected one, else 0.

    The tolerance: |number − expected| ≤ max(absolute, relative · |expected|).

    Numbers may have thousands separators (`1,234.5`), an exponent (`1.5e3`, `1.5 × 10^3`), be fractions (`3/4`,
    `\frac{3}{4}`, `2 1/2`) or percentages. A unit after a number is ignored and never converted. The percent sign may
    be missing on one side: `50%` is accepted for `50` and for `0.5`; where both sides have it, or neither, the numbers
    are compared as they are. `9{,}500`, `9\,500`, `9 500` and `1.234.567` have thousands separators; a comma is a
    decimal sign only after such points (`1.234,56`).

    Which number is the completion's, and what makes a cut-off or unmarked one count: as for `gsm8k`.

    1: within the tolerance. 0: outside it, or the completion has no number. null + `error`: the metadata has no number,
    or something that cannot be read whole as one (`5 or 9`, `3-5`, an object).
    """

    class Arguments(FinalNumberReward.Arguments):
        absolute: NonNegativeFloat = argument(0.0, "Largest allowed difference.")
        relative: NonNegativeFloat = argument(1e-6, "Largest allowed difference as a share of the expected number.")

    arguments: Arguments

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), "version": 3}

    def is_right(self, quantity: Quantity, expected: Quantity) -> bool:
        factors = [(Decimal(1), Decimal(1))]
        if quantity.percent != expected.percent:
            factors.append((_factor(quantity), _factor(expected)))
        return any(
            self._is_within_tolerance(value * factor, other * other_factor)
            for value, other in readings(quantity, expected)
            for factor, other_factor in factors
        )

    def shown(self, quantity: Quantity) -> str:
        return f"{quantity.scaled:.12g}{'%' if quantity.percent else ''}"

    def _is_within_tolerance(self, value: Decimal, expected: Decimal) -> bool:
        absolute, relative = Decimal(self.arguments.absolute), Decimal(self.arguments.relative)
        tolerance = max(absolute, ARITHMETIC.multiply(relative, abs(expected)))
        return abs(ARITHMETIC.subtract(value, expected)) <= tolerance


def _factor(quantity: Quantity) -> Decimal:
    """What a percent sign may stand for where only one side has it."""
    return Decimal("0.01") if quantity.percent else Decimal(1)
