"""A conditional bonus, after GCPO."""

from typing import Annotated

import polars as pl
from pydantic import Field

from grao_pipeline.advantages.reshapes.rewards import IS_SAMPLE, REWARD
from grao_pipeline.methods import method

Feature = Annotated[
    str, Field(description="Name of a --feature: 1 where a sample uses what is rewarded, else 0.", examples=["NAME"])
]
Bonus = Annotated[float, Field(description="b, added or subtracted.", gt=0, examples=[0.1])]
Margin = Annotated[float, Field(description="ε: smaller differences have no effect.", ge=0, examples=[0.1])]
Threshold = Annotated[float, Field(description="The reward of a success.")]


@method(
    "after arXiv 2506.07160",
    "R_i ← R_i + bonus · sign · feature_i        sign = [a₁ − a₀ > margin] − [a₁ − a₀ < −margin]\n"
    "a₁, a₀ the shares of successes among the group's samples with and without the feature",
    needs="--feature NAME=SCORES",
    options="--feature NAME=TABLE",
)
def contrast_bonus(
    view: pl.DataFrame, *, statistics: str, feature: Feature, bonus: Bonus, margin: Margin, threshold: Threshold = 0.5
) -> pl.Expr:
    """Rewards a feature of samples where it helps in this group, and punishes it where it hurts.

    The paper contrasts two groups, one of them told to use the feature; a split of one group by what the policy chose
    is confounded. Its bonus and margin are unknown, so both are required. The reference keeps its reward.
    """
    flag = pl.col(f"feature.{feature}").cast(pl.Float64)
    success = (pl.when(IS_SAMPLE).then(REWARD) >= threshold).cast(pl.Float64)
    with_feature = pl.when(flag > 0.5).then(success).mean().over("group_id")
    without = pl.when(flag <= 0.5).then(success).mean().over("group_id")
    difference = with_feature - without
    sign = pl.when(difference > margin).then(1.0).when(difference < -margin).then(-1.0).otherwise(0.0)
    return pl.when(IS_SAMPLE).then(REWARD + bonus * (sign * flag).fill_null(0.0)).otherwise(REWARD)
