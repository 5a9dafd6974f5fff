"""GDPO, arXiv 2601.05242."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, counted_reward, standardised


def counted(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """The combined rewards that count."""
    return counted_reward(statistics)


def gdpo(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """Â_s = S_s / σ_T, S_s = Σ_k w_k (R_k − μ_k) / σ_k: each reward is standardised in its group, their weighted sum
    over the whole table (arXiv 2601.05242).

    S is what `--combine normalise` makes, which this estimator needs. Its mean over the table is 0 by construction and
    is not subtracted, so that a group of equal rewards gives exactly 0. σ_k and σ_T are those of the population (TRL's
    `normalize_then_sum` has n − 1, and 1e-4 added to each). The paper knows no reference: `--statistics samples` is its
    formula. The reference has an advantage by the same formula, and counts with `samples_and_reference`.
    """
    return standardised(REWARD, pl.col("table_std"))


gdpo.over_table = counted  # type: ignore[attr-defined]
