"""OTC: a reward that counts its cost."""

import math
from typing import Annotated

import polars as pl
from pydantic import Field

from grao_pipeline.advantages.reshapes.rewards import REWARD, refuse_negative
from grao_pipeline.methods import method

Cost = Annotated[str, Field(description="tokens, or the name of a --feature with the cost, e.g. calls of tools.")]
Smooth = Annotated[float, Field(description="c: how slowly the reward falls where the least cost is 0.", gt=0)]
Threshold = Annotated[float, Field(description="The reward of a success.")]


@method(
    "arXiv 2504.14870",
    "R ← R · c(m, n)        m the cost, n the least cost of the group's successes\n"
    "c = 1 if m = n = 0;  cos(π m / (2m + smooth)) if n = 0;  sin(π f / (2n)), f = 2nm / (n + m), else",
    needs="for cost=NAME: --feature NAME=SCORES",
)
def optimal_cost(
    view: pl.DataFrame, *, statistics: str, cost: Cost = "tokens", smooth: Smooth = 1.0, threshold: Threshold = 0.5
) -> pl.Expr:
    """Scales rewards down by what the sequence cost more than the group's cheapest success.

    Gives a signal to groups that are all right, too. The paper keeps n as a running minimum over the training; here it
    is that of the group, and with `--pool` that of earlier rounds as well. The reference is treated as the samples are.
    A group without a success, and a sequence without a cost, keep their rewards.
    """
    refuse_negative(view, "optimal-cost")
    spent = (pl.col("num_tokens") if cost == "tokens" else pl.col(f"feature.{cost}")).cast(pl.Float64)
    least = pl.when(threshold <= REWARD).then(spent).min().over("group_id")
    at_zero = (math.pi * spent / (2.0 * spent + smooth)).cos()
    above = (math.pi * spent / (least + spent)).sin()
    factor = pl.when((least == 0.0) & (spent == 0.0)).then(1.0).when(least == 0.0).then(at_zero).otherwise(above)
    # At the least cost the sine is that of exactly π/2.
    return REWARD * pl.when(spent == least).then(1.0).otherwise(factor).fill_null(1.0)
