"""The bootstrap interval against distributions that are known exactly."""

import math
from fractions import Fraction
from itertools import accumulate

import numpy as np
import pytest

from grao_pipeline.evaluation.intervals import Estimate, bootstrap_mean


def test_without_values_there_is_no_estimate() -> None:
    assert bootstrap_mean([], 0.95, 1000, 0) is None


@pytest.mark.parametrize("values", [[0.25], [1.0] * 7, [-3.5] * 1000])
def test_values_that_are_all_equal_have_an_interval_without_width(values: list[float]) -> None:
    assert bootstrap_mean(values, 0.95, 500, 0) == Estimate(values[0], values[0], values[0], len(values))


@pytest.mark.parametrize(("confidence", "low", "high"), [(0.95, 0.0, 1.0), (0.6, 0.0, 1.0), (0.4, 0.5, 0.5)])
def test_two_values_have_the_interval_of_a_pair_of_coins(confidence: float, low: float, high: float) -> None:
    """Resampled means of 0 and 1: 0, ½, 1 with probability ¼, ½, ¼. Tails of 2.5 % and 20 % end in the outer two."""
    assert bootstrap_mean([0.0, 1.0], confidence, 10_000, 0) == Estimate(0.5, low, high, 2)


def binomial_quantile(n: int, k: int, probability: float) -> int:
    """Smallest x with P(X ≤ x) ≥ probability, X ~ Binomial(n, k/n), from exact integers."""
    weights = [math.comb(n, x) * k**x * (n - k) ** (n - x) for x in range(n + 1)]
    return next(x for x, total in enumerate(accumulate(weights)) if Fraction(total, n**n) >= probability)


@pytest.mark.parametrize(("n", "k"), [(50, 20), (200, 30), (12, 11)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_shares_have_the_interval_of_the_binomial(n: int, k: int, confidence: float) -> None:
    """The mean of n values resampled from k ones is Binomial(n, k/n) / n: its quantiles, to one step of the grid."""
    estimate = bootstrap_mean([1.0] * k + [0.0] * (n - k), confidence, 20_000, 1)
    assert estimate is not None
    tail = (1 - confidence) / 2
    assert (estimate.value, estimate.n) == (k / n, n)
    assert estimate.low == pytest.approx(binomial_quantile(n, k, tail) / n, abs=1.01 / n)
    assert estimate.high == pytest.approx(binomial_quantile(n, k, 1 - tail) / n, abs=1.01 / n)


@pytest.mark.slow
def test_many_values_have_the_interval_of_the_normal() -> None:
    """Mean ± 1.96 σ/√n. 4,000 values times 5,000 resamples: drawn in several blocks."""
    values = np.random.default_rng(3).gamma(2.0, size=4_000)
    estimate = bootstrap_mean(values.tolist(), 0.95, 5_000, 0)
    assert estimate is not None
    half = 1.959964 * values.std() / math.sqrt(len(values))
    assert estimate.value == pytest.approx(values.mean(), rel=1e-12)
    # A quantile from 5,000 draws has a standard error of about 0.038 σ/√n, i.e. 2 % of half the interval.
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.08 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.08 * half)


def test_the_interval_depends_on_the_seed_alone() -> None:
    values = [float(x) for x in range(40)]
    assert bootstrap_mean(values, 0.95, 500, 7) == bootstrap_mean(values, 0.95, 500, 7)
    assert bootstrap_mean(values, 0.95, 500, 7) != bootstrap_mean(values, 0.95, 500, 8)


def test_more_confidence_needs_a_wider_interval() -> None:
    values = [float(x % 7) for x in range(100)]
    estimates = [bootstrap_mean(values, confidence, 2_000, 0) for confidence in (0.5, 0.8, 0.95, 0.99)]
    widths = [estimate.high - estimate.low for estimate in estimates if estimate is not None]
    assert widths == sorted(widths)
    assert len(set(widths)) == 4
