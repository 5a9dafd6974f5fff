"""MaxRL, arXiv 2602.02710."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, group_mean
from grao_pipeline.errors import UsageError


def max_rl(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """Â_s = (R_s − μ) / μ; exactly 0 where μ = 0 (arXiv 2602.02710).

    For rewards in [0, 1] that say how far a sample succeeded: averaged over the group, this weighs the successes alone,
    so that the gradient is that of a truncated series of log p(success). The paper knows no reference: `--statistics
    samples` is its formula. The reference has an advantage by the same formula, and counts in μ with
    `samples_and_reference`.

    Raises:
        UsageError: a reward is negative, so that μ is no rate of success.
    """
    if "reward" in view.columns:
        lowest = view["reward"].min()
        if isinstance(lowest, float) and lowest < 0.0:
            raise UsageError(
                f"--estimator max-rl divides by the mean reward and needs rewards of at least 0; there is {lowest:g}."
            )
    mean = group_mean(statistics)
    advantage = pl.when(mean == 0.0).then(0.0).otherwise((REWARD - mean) / mean)
    return pl.when(REWARD.is_not_null()).then(advantage)
