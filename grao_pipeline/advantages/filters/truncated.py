"""Samples that ended at the limit of new tokens."""

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions

IS_TRUNCATED = (pl.col("finish_reason") == "length").fill_null(False)


def masked(options: AdvantagesOptions) -> pl.Expr | None:
    """With `--truncated drop`, samples that finished by length."""
    return IS_TRUNCATED if options.truncated == "drop" else None


def zeroed(options: AdvantagesOptions) -> pl.Expr | None:
    """With `--truncated zero`, samples whose advantage becomes exactly 0: they count in μ and σ and stay."""
    return IS_TRUNCATED if options.truncated == "zero" else None
