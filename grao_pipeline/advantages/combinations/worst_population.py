"""MaxMin-RLHF: the reward of the population that is worst off."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from grao_pipeline.advantages.combinations.rewards import Weights, complete, weighted
from grao_pipeline.methods import method, traits

Scope = Annotated[
    Literal["table", "group", "sample"],
    Field(description="Where a population's mean reward is taken. The released code compares each sample's rewards."),
]


def population_rewards(view: pl.DataFrame, *, weights: Weights, scope: str = "table") -> dict[str, pl.Expr]:
    is_sample = pl.col("source") == "sample"
    rewards: dict[str, pl.Expr] = {
        name: pl.when(is_sample & complete(weights)).then(value) for name, value in weighted(weights).items()
    }
    return rewards if scope == "table" else {}


@method("arXiv 2402.08925", "R = R_u        u = the population (a reward) with the lowest mean reward of the samples")
@traits(needs_several=True, over_table=population_rewards)
def worst_population(view: pl.DataFrame, *, weights: Weights, statistics: str, scope: Scope = "table") -> pl.Expr:
    """The reward of the population whose samples have the lowest mean reward; each scores table is one population.

    Of equally low means the first population counts. `scope=sample` is `--combine minimum`.
    """
    values = weighted(weights)
    is_sample = pl.col("source") == "sample"
    if scope == "sample":
        means = values
    elif scope == "group":
        means = {
            name: pl.when(is_sample & complete(weights)).then(value).mean().over("group_id")
            for name, value in values.items()
        }
    else:
        means = {name: pl.col(f"table_mean.{name}") for name in weights}
    lowest = pl.min_horizontal(*means.values())
    chosen = pl.coalesce([pl.when(means[name] == lowest).then(value) for name, value in values.items()])
    return pl.when(complete(weights)).then(chosen).cast(pl.Float32)
