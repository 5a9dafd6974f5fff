"""The worst case of an ensemble."""

import polars as pl

from grao_pipeline.advantages.combinations.rewards import Weights, complete, weighted
from grao_pipeline.methods import method, traits


@method("arXiv 2310.02743 (worst-case optimization)", "R = min_k weight_k · R_k")
@traits(needs_several=True)
def minimum(view: pl.DataFrame, *, weights: Weights, statistics: str) -> pl.Expr:
    """The smallest of the weighted rewards: the worst case of an ensemble of reward models."""
    # The minimum skips the nulls of the rewards that do not apply.
    return pl.when(complete(weights)).then(pl.min_horizontal(*weighted(weights).values())).cast(pl.Float32)
