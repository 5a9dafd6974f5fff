"""The default: the sum of the weighted rewards."""

import polars as pl

from grao_pipeline.advantages.combinations.rewards import Weights, complete, terms, total
from grao_pipeline.methods import method


@method("arXiv 2503.21819 (sum, then normalize)", "R = Σ_k weight_k · R_k")
def weighted_sum(view: pl.DataFrame, *, weights: Weights, statistics: str) -> pl.Expr:
    """The weighted sum of the rewards."""
    return pl.when(complete(weights)).then(total(terms(weights))).cast(pl.Float32)
