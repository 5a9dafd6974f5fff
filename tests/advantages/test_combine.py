"""Several rewards become one: a weighted sum, rounded once."""

from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.advantages.combinations.weighted_sum import weighted_sum
from tests.tiers import examples


def combine(weights: dict[str, float], rewards: dict[str, list[float | None]]) -> list[float | None]:
    columns = {f"reward.{name}": pl.Series(values, dtype=pl.Float32) for name, values in rewards.items()}
    applies = {f"applies.{name}": pl.Series([True] * len(values)) for name, values in rewards.items()}
    combined = pl.DataFrame(columns | applies).select(
        weighted_sum(pl.DataFrame(), weights=weights, statistics="samples").alias("reward")
    )["reward"]
    assert combined.dtype == pl.Float32
    return combined.to_list()


def test_the_sum_is_weighted_and_null_where_any_reward_is_null() -> None:
    rewards: dict[str, list[float | None]] = {"a": [1.0, 2.0, None, None], "b": [4.0, None, 4.0, None]}
    assert combine({"a": 2.0, "b": -0.5}, rewards) == [0.0, None, None, None]
    assert combine({"a": 1.0}, rewards) == [1.0, 2.0, None, None]
    assert combine({"a": 0.0, "b": 1.0}, rewards) == [4.0, None, None, None]


def test_sums_that_are_equal_but_for_rounding_become_equal() -> None:
    """In float64, 0.1 + 0.2 ≠ 0.3; rewards are float32, where all three sums are 0.3 (0.3f)."""
    rewards: dict[str, list[float | None]] = {"a": [1.0, 3.0, 0.0], "b": [1.0, 0.0, 1.5]}
    assert combine({"a": 0.1, "b": 0.2}, rewards) == [float(np.float32(0.3))] * 3


finite = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=examples(50))
@given(st.lists(st.tuples(st.floats(-10, 10), finite), min_size=1, max_size=4))
def test_the_sum_is_the_exact_sum_to_the_last_float32_digit(terms: list[tuple[float, float]]) -> None:
    weights = {str(i): weight for i, (weight, _) in enumerate(terms)}
    rewards: dict[str, list[float | None]] = {str(i): [reward] for i, (_, reward) in enumerate(terms)}
    products = [Fraction(weight) * Fraction(reward) for weight, reward in terms]
    (combined,) = combine(weights, rewards)
    # One float32 rounding (2^-24 of the result), and float64 roundings of the terms (2^-52 of their magnitudes).
    exact, magnitude = float(sum(products)), float(sum(map(abs, products)))
    assert combined == pytest.approx(exact, rel=2**-24, abs=magnitude * 2**-50 + 1e-45)
