"""Several rewards → the one that the estimator sees."""

from collections.abc import Mapping

import polars as pl


def weighted_sum(weights: Mapping[str, float]) -> pl.Expr:
    """Σ_k weight_k · reward_k as float32, null where any of them is null.

    The sum is made in float64 and rounded once to float32, the precision in which rewards are stored: sums that are
    equal but for rounding become equal.
    """
    terms = [pl.col(f"reward.{name}").cast(pl.Float64) * weight for name, weight in weights.items()]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total.cast(pl.Float32)
