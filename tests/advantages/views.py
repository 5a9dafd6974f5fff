"""Flat views of a few rows, and the columns that functions make of them."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from grao_pipeline.advantages.columns import load_columns
from grao_pipeline.advantages.estimate import add_advantages, count_rewards, reward_values, table_values
from grao_pipeline.advantages.estimators.load import load_estimator
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.advantages.recipe import Recipe, RecipeResult, Statistic
from grao_pipeline.advantages.table_std import Moments

Values = Sequence[float | None]
REFERENCE_FIRST = "reference_first"


def view_of(groups: Sequence[dict[str, Values]], reference: bool = False) -> pl.DataFrame:
    """One row per sequence.

    Args:
        groups: per group, column → values; column `reward.r` is the reward of the only scores table.
        reference: whether the first row of each group is its reference.
    """
    rows: list[dict[str, Any]] = []
    for number, columns in enumerate(groups):
        for index in range(len(next(iter(columns.values())))):
            is_reference = reference and index == 0
            rows.append(
                {
                    "row": number,
                    "group_id": number,
                    "sample_index": index - int(reference),
                    "source": "reference" if is_reference else "sample",
                    **{name: values[index] for name, values in columns.items()},
                }
            )
    names = [name.removeprefix("reward.") for name in groups[0] if name.startswith("reward.")]
    schema: dict[str, Any] = {"row": pl.UInt32, "group_id": pl.UInt32, "sample_index": pl.Int32, "source": pl.String}
    frame = pl.DataFrame(rows, schema=schema | dict.fromkeys(groups[0], pl.Float64))
    return frame.with_columns(
        *(pl.col(f"reward.{name}").cast(pl.Float32) for name in names),
        *(pl.lit(True).alias(f"applies.{name}") for name in names),
        pl.lit("stop").alias("finish_reason"),
    )


def column(
    kind: str, name: str, registry: dict[str, str], view: pl.DataFrame, statistics: str = "samples", **arguments: Any
) -> list[float | None]:
    """What a column function makes of a view; `reward` is that of `reward.r`."""
    given = [f"{name}.{key}={value}" for key, value in arguments.items()]
    (function,) = load_columns(kind, [name], given, registry, ("view", "statistics"), kind)
    view = view.with_columns(pl.col("reward.r").alias("reward"))
    return view.select(function(view, statistics=statistics).alias("new"))["new"].to_list()


def advantages(view: pl.DataFrame, **options: Any) -> list[float | None]:
    """The advantage of every row, through the whole recipe, statistics over the table included."""
    chosen = AdvantagesOptions(statistics="samples", **options)
    weights = {name.removeprefix("reward."): 1.0 for name in view.columns if name.startswith("reward.")}
    recipe = Recipe(chosen, weights, load_estimator(chosen)).load()
    result = RecipeResult(of_rewards=_statistics(reward_values(view, recipe)))
    if recipe.estimator.reads_table_std:
        counted = count_rewards(view, recipe, result)
        result = RecipeResult(None, result.of_rewards, _statistics(table_values(counted, recipe)))
    rows = add_advantages(count_rewards(view, recipe, result), recipe, result)
    return rows["advantage"].to_list()


def rewards(view: pl.DataFrame, **options: Any) -> list[float | None]:
    """The combined reward of every row."""
    chosen = AdvantagesOptions(statistics="samples", **options)
    weights = {name.removeprefix("reward."): 1.0 for name in view.columns if name.startswith("reward.")}
    recipe = Recipe(chosen, weights, load_estimator(chosen)).load()
    result = RecipeResult(of_rewards=_statistics(reward_values(view, recipe)))
    return count_rewards(view, recipe, result)["reward"].to_list()


def _statistics(values: pl.DataFrame) -> dict[str, Statistic]:
    statistics: dict[str, Statistic] = {}
    for name in values.columns:
        moments = Moments()
        moments.add(values[name].drop_nulls().to_numpy())
        statistics[name] = Statistic(moments.mean(), moments.std(), moments.count)
    return statistics
