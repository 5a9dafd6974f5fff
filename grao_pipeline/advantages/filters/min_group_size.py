"""Groups of which too few samples are left."""

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions


def masked(options: AdvantagesOptions) -> pl.Expr | None:
    """Groups with fewer than `--min-group-size` scored samples after the filters before this one."""
    if options.min_group_size is None:
        return None
    left = (pl.col("source") == "sample") & pl.col("reward").is_not_null()
    return left.sum().over("row") < options.min_group_size
