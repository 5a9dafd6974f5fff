"""Groups of which a sample could not be scored."""

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions


def masked(options: AdvantagesOptions) -> pl.Expr | None:
    """With `--unscored group`, the whole group of an unscored sample; an unscored sample itself is never trained on."""
    if options.unscored == "sample":
        return None
    return ((pl.col("source") == "sample") & pl.col("combined").is_null()).any().over("row")
