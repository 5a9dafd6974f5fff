"""Groups of rounds long past."""

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions


def masked(options: AdvantagesOptions) -> pl.Expr | None:
    """Groups more than `--max-rounds-behind` rounds older than the table's newest; in a pool, they do not count."""
    if options.max_rounds_behind is None:
        return None
    return pl.col("newest_round") - pl.col("round") > options.max_rounds_behind
