"""GRPO, arXiv 2402.03300, as TRL computes it."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, group_mean, group_size, group_std, standardised

EPSILON = 1e-4


def grpo(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """Â_s = (R_s − μ) / (s + 1e-4), s = σ · √(n / (n − 1)); exactly 0 where all rewards are equal.

    The paper (arXiv 2402.03300, 4.1.2) writes std without saying which; s with n − 1 and the 1e-4 are those of TRL's
    GRPOTrainer. The paper knows no reference: `--statistics samples` is its formula. The reference has an advantage by
    the same formula, and counts in μ and s with `samples_and_reference`.
    """
    size, std = group_size(statistics), group_std(statistics)
    sample_std = std * (size / (size - 1)).sqrt() + EPSILON
    return standardised(REWARD - group_mean(statistics), pl.when(std == 0.0).then(0.0).otherwise(sample_std))
