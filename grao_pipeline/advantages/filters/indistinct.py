"""Samples that are not told apart from those of the other side, after DaGRPO."""

from typing import Annotated

import polars as pl
from pydantic import Field

from grao_pipeline.methods import method, traits

Score = Annotated[str, Field(description="Name of a --feature with a fine-grained score.", examples=["NAME"])]
Tau = Annotated[float, Field(description="Least difference of the scores.", gt=0, examples=[0.1])]


@method(
    "after arXiv 2512.06337",
    "o_i is masked unless some o_j with sign Â_j = −sign Â_i has |score_i − score_j| ≥ tau",
    needs="--feature NAME=SCORES",
    options="--feature NAME=TABLE",
)
@traits(before_statistics=False)
def indistinct(view: pl.DataFrame, *, statistics: str, score: Score, tau: Tau) -> pl.Expr:
    """Masks samples that differ too little from every sample of the other sign of advantage.

    The paper's threshold is in no source that could be read. Samples without a score or with an advantage of 0 stay,
    and so does the reference; the paper's anchor for hard prompts is what a reference is in GRAO.
    """
    value, advantage = pl.col(f"feature.{score}").cast(pl.Float64), pl.col("advantage")
    is_counted = (pl.col("source") == "sample") & value.is_not_null()
    gap = pl.lit(None, dtype=pl.Float64)
    for mine, other in ((advantage > 0, advantage < 0), (advantage < 0, advantage > 0)):
        opposite = pl.when(is_counted & other).then(value)
        # The farthest value of the other side is its lowest or its highest.
        farthest = pl.max_horizontal(
            (value - opposite.min().over("row")).abs(), (value - opposite.max().over("row")).abs()
        )
        gap = pl.when(is_counted & mine).then(farthest.fill_null(0.0)).otherwise(gap)
    return (gap < tau).fill_null(False)
