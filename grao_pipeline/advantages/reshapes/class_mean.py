"""Mean rewards of classes of samples."""

from typing import Annotated

import polars as pl
from pydantic import Field

from grao_pipeline.advantages.reshapes.rewards import IS_SAMPLE, REWARD
from grao_pipeline.methods import method

Feature = Annotated[
    str, Field(description="Name of a --feature that numbers the class of each sample.", examples=["NAME"])
]


@method(
    "after GEPO, as its abstract describes it",
    "R_i ← mean of R over the group's samples of the class of o_i",
    "--feature NAME=SCORES",
    options="--feature NAME=TABLE",
)
def class_mean(view: pl.DataFrame, *, statistics: str, feature: Feature) -> pl.Expr:
    """Gives every sample the mean reward of the group's samples of its class: less noise in a class of equal plans.

    A sample without a class, and the reference, keep their rewards.
    """
    kind = pl.when(IS_SAMPLE).then(pl.col(f"feature.{feature}"))
    return (
        pl.when(kind.is_not_null() & REWARD.is_not_null()).then(REWARD.mean().over("group_id", kind)).otherwise(REWARD)
    )
