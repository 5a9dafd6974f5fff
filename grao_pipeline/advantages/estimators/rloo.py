"""RLOO, arXiv 2402.14740."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, counted_reward, group_mean, group_size


def rloo(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """Â_s = R_s − the mean of the other counted rewards = n / (n − 1) · (R_s − μ); 0 where there are no others.

    Leave-one-out REINFORCE (arXiv 2402.14740, Eq. 5; TRL's RLOOTrainer). The paper knows no reference: `--statistics
    samples` is its formula, and the reference's baseline is then the mean of all samples. With `samples_and_reference`
    the reference is one of the n.
    """
    size = group_size(statistics)
    above = REWARD - group_mean(statistics)
    leave_one_out = pl.when(size > 1).then(above * size / (size - 1)).otherwise(0.0)
    counts = counted_reward(statistics).is_not_null()
    return pl.when(counts).then(leave_one_out).when(REWARD.is_not_null()).then(above)
