"""Samples whose reward is far from those of their group."""

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions

# The median absolute deviation of a normal distribution is 0.6745 of its standard deviation.
NORMAL = 1.4826


def masked(options: AdvantagesOptions) -> pl.Expr | None:
    """Samples with |R − median| > K · 1.4826 · MAD, K = `--max-deviations`; median and MAD (the median of |R − median|)
    are those of the group's samples.

    Where MAD = 0, at least half of the samples have one reward and there is no scale to measure by: nothing is masked,
    so that the one success among failures stays.
    """
    if options.max_deviations is None:
        return None
    reward = pl.when(pl.col("source") == "sample").then(pl.col("reward").cast(pl.Float64))
    distance = (reward - reward.median().over("row")).abs()
    mad = distance.median().over("row")
    return ((mad > 0.0) & (distance > options.max_deviations * NORMAL * mad)).fill_null(False)
