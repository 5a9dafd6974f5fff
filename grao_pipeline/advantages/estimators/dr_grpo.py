"""Dr. GRPO, arXiv 2503.20783."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, group_mean
from grao_pipeline.methods import method


@method("arXiv 2503.20783", "Â = R − μ", options="--statistics samples")
class DrGrpo(Estimator):
    """R − μ: GRPO without the division by the standard deviation (arXiv 2503.20783, 3.2).

    The paper has no reference: `--statistics samples` gives its formula. The reference gets an advantage by the same
    formula, and counts in μ with `samples_and_reference`. What the paper says about lengths belongs to the objective.
    """

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        return REWARD - group_mean(statistics)
