"""The variance of a prompt's rewards."""

import polars as pl

from grao_pipeline.methods import method


@method("docs/curriculum.md", "v = mean_s (R_s − μ)²        of the last round that saw the prompt")
def variance(history: pl.DataFrame, *, success_threshold: float) -> pl.Expr:
    """The population variance of the samples' rewards, in the last round that has some: 0 teaches nothing."""
    return pl.col("variance")
