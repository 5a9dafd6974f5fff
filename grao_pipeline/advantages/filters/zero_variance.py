"""Groups that say nothing about what is better."""

import polars as pl

from grao_pipeline.advantages.estimators import WITHOUT_REWARDS
from grao_pipeline.advantages.options import AdvantagesOptions


def masked(options: AdvantagesOptions) -> pl.Expr | None:
    """Groups whose counted rewards are all equal, or all missing, unless `--keep-zero-variance`."""
    if options.keep_zero_variance or options.estimator in WITHOUT_REWARDS:
        return None
    return (pl.col("std") == 0.0).fill_null(True)
