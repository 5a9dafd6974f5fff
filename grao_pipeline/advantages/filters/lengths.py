"""Samples that are too short or too long."""

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions

IS_SAMPLE = pl.col("source") == "sample"


def too_short(options: AdvantagesOptions) -> pl.Expr | None:
    """Samples of fewer than `--min-tokens` tokens."""
    return None if options.min_tokens is None else IS_SAMPLE & (pl.col("num_tokens") < options.min_tokens)


def too_long(options: AdvantagesOptions) -> pl.Expr | None:
    """Samples of more than `--max-tokens` tokens."""
    return None if options.max_tokens is None else IS_SAMPLE & (pl.col("num_tokens") > options.max_tokens)
