"""Supervised fine-tuning."""

import polars as pl


def sft(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """Â = 1 for the reference; null for the samples.

    No reward and no statistic plays a part: a group without variance is not masked, a reference without reward is
    trained on.
    """
    return pl.when(pl.col("source") == "reference").then(1.0)
