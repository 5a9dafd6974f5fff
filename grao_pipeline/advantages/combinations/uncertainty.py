"""An ensemble's mean minus its disagreement."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from grao_pipeline.advantages.combinations.rewards import Weights, complete, number_of, reward_named, total
from grao_pipeline.methods import method, traits

Penalty = Annotated[float, Field(description="Spreads that are subtracted from the mean.", ge=0.0, examples=[0.5])]
Spread = Annotated[Literal["deviation", "variance"], Field(description="The paper's is the variance.")]
Calibrate = Annotated[
    Literal["no", "table"], Field(description="Whether each reward is standardized over the table first.")
]


def rewards_to_calibrate(
    view: pl.DataFrame, *, weights: Weights, penalty: float, spread: str = "", calibrate: str = "no"
) -> dict[str, pl.Expr]:
    return {name: reward_named(name) for name in weights} if calibrate == "table" else {}


@method(
    "arXiv 2310.02743 (uncertainty-weighted optimization)",
    "R = mean_k − penalty · spread_k        of weight_k · R_k; spread = σ, or σ² as in the paper (over k, not k − 1)",
)
@traits(needs_several=True, over_table=rewards_to_calibrate)
def uncertainty(
    view: pl.DataFrame,
    *,
    weights: Weights,
    statistics: str,
    penalty: Penalty,
    spread: Spread = "deviation",
    calibrate: Calibrate = "no",
) -> pl.Expr:
    """The mean of the rewards minus their disagreement: where an ensemble disagrees, its mean is trusted less.

    The standard deviation has the unit of the rewards. Models of different scales need `calibrate=table`: otherwise the
    scale is taken for doubt.
    """
    values = [_calibrated(name, calibrate) * weight for name, weight in weights.items()]
    count = number_of(weights)
    mean = total([value.fill_null(0.0) for value in values]) / count
    variance = total([((value - mean) ** 2).fill_null(0.0) for value in values]) / count
    lowest, highest = pl.min_horizontal(*values), pl.max_horizontal(*values)
    disagreement = variance if spread == "variance" else variance.sqrt()
    combined = pl.when(lowest == highest).then(lowest).otherwise(mean - penalty * disagreement)
    return pl.when(complete(weights)).then(combined).cast(pl.Float32)


def _calibrated(name: str, calibrate: str) -> pl.Expr:
    if calibrate == "no":
        return reward_named(name)
    std = pl.col(f"table_std.{name}")
    return (
        pl.when(std == 0.0)
        .then(0.0 * reward_named(name))
        .otherwise((reward_named(name) - pl.col(f"table_mean.{name}")) / std)
    )
