"""The best and the worst samples of a group."""

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions


def masked(options: AdvantagesOptions) -> pl.Expr | None:
    """Samples that are neither among the `--top-k` highest rewards of their group nor among its `--bottom-k` lowest.

    Among equals the earlier sample is taken first. The reference is not masked.
    """
    if options.top_k is None and options.bottom_k is None:
        return None
    reward = pl.when((pl.col("source") == "sample") & pl.col("advantage").is_not_null()).then("reward")
    chosen = pl.lit(False)
    for count, descending in ((options.top_k, True), (options.bottom_k, False)):
        if count is not None:
            chosen = chosen | (reward.rank("ordinal", descending=descending).over("row") <= count)
    return (pl.col("source") == "sample") & ~chosen.fill_null(False)
