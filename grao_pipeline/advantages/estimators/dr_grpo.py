"""Dr. GRPO, arXiv 2503.20783."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, group_mean


def dr_grpo(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """Â_s = R_s − μ: GRPO without the division by the standard deviation (arXiv 2503.20783, 3.2).

    The paper knows no reference: `--statistics samples` is its formula. The reference has an advantage by the same
    formula, and counts in μ with `samples_and_reference`. What the paper says of lengths is the objective's concern.
    """
    return REWARD - group_mean(statistics)
