"""Sums without rounding against rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.advantages.table_std import Moments, exact_sum

values = st.lists(st.floats(-1e30, 1e30), max_size=30)


@given(values)
def test_sums_are_exact(numbers: list[float]) -> None:
    assert exact_sum(np.array(numbers, dtype=np.float64)) == sum(map(Fraction, numbers))


@given(values.filter(bool), st.integers(1, 30))
def test_the_deviation_does_not_depend_on_order_or_parts(numbers: list[float], cut: int) -> None:
    whole, parts = Moments(), Moments()
    whole.add(np.array(numbers))
    for start in range(0, len(numbers), cut):
        parts.add(np.array(numbers[::-1][start : start + cut]))
    assert whole.std() == parts.std()


def test_a_deviation_by_hand() -> None:
    """−1, 1, 3, 5: mean 2, variance (9 + 1 + 1 + 9) / 4 = 5."""
    moments = Moments()
    assert moments.std() is None
    moments.add(np.array([-1.0, 1.0, 3.0, 5.0]))
    assert moments.std() == math.sqrt(5)
