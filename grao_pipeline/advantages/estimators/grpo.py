"""GRPO, arXiv 2402.03300, as TRL computes it."""

import polars as pl

from grao_pipeline.advantages.estimators.base import (
    REWARD,
    Estimator,
    group_mean,
    group_size,
    group_std,
    standardized,
)
from grao_pipeline.methods import method

EPSILON = 1e-4


@method("arXiv 2402.03300", "Â = (R − μ) / (σ + ε)", options="--statistics samples")
class Grpo(Estimator):
    """(R − μ) / (s + 1e-4) with s = σ · √(n / (n − 1)); exactly 0 where all rewards are equal (arXiv 2402.03300).

    The paper (4.1.2) writes std without saying which; s with n − 1 and the 1e-4 are those of TRL's GRPOTrainer. The
    paper has no reference: `--statistics samples` gives its formula. The reference gets an advantage by the same
    formula, and counts in μ and s with `samples_and_reference`.
    """

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        size, std = group_size(statistics), group_std(statistics)
        sample_std = std * (size / (size - 1)).sqrt() + EPSILON
        return standardized(REWARD - group_mean(statistics), pl.when(std == 0.0).then(0.0).otherwise(sample_std))
