"""Mean and standard deviation over a whole table: the same to the last bit, however the table is cut into parts."""

import math
from fractions import Fraction

import numpy as np

# A float64 is an integer of 53 bits times a power of two.
MANTISSA_BITS = 53
LOW_BITS = 26


class Moments:
    """Exact count, sum and sum of squares of float64 values: in integers, so that the order does not matter."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = Fraction(0)
        self._squares = Fraction(0)

    def add(self, values: np.ndarray) -> None:
        """Args: values: [N] float64, finite. Each square is rounded on its own, whatever the order."""
        self.count += len(values)
        self._sum += exact_sum(values)
        self._squares += exact_sum(values * values)

    def mean(self) -> float | None:
        """Rounded only at the end; None without values."""
        return float(self._sum / self.count) if self.count else None

    def std(self) -> float | None:
        """The population standard deviation, rounded only at the end; None without values."""
        if not self.count:
            return None
        variance = self._squares / self.count - (self._sum / self.count) ** 2
        return math.sqrt(max(variance, Fraction(0)))


def exact_sum(values: np.ndarray) -> Fraction:
    """Σ values, without rounding.

    Args:
        values: [N] float64, finite, N < 2^36.
    """
    mantissas, exponents = np.frexp(values)
    integers = np.ldexp(mantissas, MANTISSA_BITS).astype(np.int64)
    total = Fraction(0)
    for exponent in np.unique(exponents):
        same_exponent = integers[exponents == exponent]
        high, low = int((same_exponent >> LOW_BITS).sum()), int((same_exponent & ((1 << LOW_BITS) - 1)).sum())
        total += ((high << LOW_BITS) + low) * Fraction(2) ** (int(exponent) - MANTISSA_BITS)
    return total
