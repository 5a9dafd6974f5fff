"""Samples that are the same as another of their group."""

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions


def masked(options: AdvantagesOptions) -> pl.Expr | None:
    """With `--duplicates drop`, samples with the token ids of an earlier sample of their group; the first stays.

    By token ids, since these are what is trained on: samples of one text but other tokens are other samples.
    """
    return pl.col("duplicate") if options.duplicates == "drop" else None
