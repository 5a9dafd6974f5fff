"""Groups that are too easy or too hard."""

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions


def masked(options: AdvantagesOptions) -> pl.Expr | None:
    """Groups whose samples' mean reward is below `--min-mean-reward` or above `--max-mean-reward`.

    Over the samples alone, whatever the statistics; over those of the pool where there is one.
    """
    if options.min_mean_reward is None and options.max_mean_reward is None:
        return None
    reward = pl.when(pl.col("source") == "sample").then(pl.col("reward").cast(pl.Float64))
    mean = reward.mean().over("group_id")
    outside = pl.lit(False)
    if options.min_mean_reward is not None:
        outside = outside | (mean < options.min_mean_reward)
    if options.max_mean_reward is not None:
        outside = outside | (mean > options.max_mean_reward)
    return outside.fill_null(False)
