"""A flat view with rewards → the advantage of every sequence, and the counts of the filters."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from grao_pipeline.advantages.combine import combined_reward
from grao_pipeline.advantages.estimators import ESTIMATORS
from grao_pipeline.advantages.estimators.base import Estimator, group_mean, group_std
from grao_pipeline.advantages.filters import FILTERS, active_filters
from grao_pipeline.advantages.flat_view import view_columns
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.errors import StageFailure
from grao_pipeline.own_code import own_code
from grao_pipeline.schemas import ADVANTAGES

FILTER_NAMES = pl.Enum([candidate.name for candidate in FILTERS])
UNSCORED = "unscored"


@dataclass
class Masked:
    """The number of samples that a filter masked, and of groups in which it masked a sequence."""

    samples: int = 0
    groups: int = 0


@dataclass(frozen=True)
class Recipe:
    """How a flat view becomes advantages.

    Example: `Recipe(AdvantagesOptions(), {"gsm8k": 1.0}, load_estimator(options))`
    """

    options: AdvantagesOptions
    weights: Mapping[str, float]
    """Of the rewards, by name."""
    estimator: Estimator


@dataclass
class RecipeResult:
    """What a recipe finds out about the whole table, part by part."""

    newest_round: int | None = None
    table_std: float | None = None
    masked: dict[str, Masked] = field(default_factory=dict)
    """By the filter's name, in the order of application."""

    def count(self, name: str, view: pl.DataFrame, is_selected: pl.Series, is_own: np.ndarray) -> None:
        """Add the sequences that a filter selected.

        Args:
            is_own: which rows belong to the table itself; only these are counted.
        """
        selected = is_selected.to_numpy() & is_own
        masked = self.masked.setdefault(name, Masked())
        masked.samples += int((selected & (view["sample_index"].to_numpy() >= 0)).sum())
        masked.groups += len(np.unique(view["row"].to_numpy()[selected]))


def needed_columns(recipe: Recipe) -> list[str]:
    """The columns of the flat view that the recipe reads; all columns for a user's own estimator, which may look at the
    view itself.
    """
    options, estimator = recipe.options, recipe.estimator
    all_columns = [*view_columns(recipe.weights), "duplicate"]
    expressions = [combined_reward(recipe.weights, options)]
    expressions += [expression for _, expression in active_filters(options, "before", estimator.uses_rewards)]
    expressions += [expression for _, expression in active_filters(options, "after", estimator.uses_rewards)]
    if options.estimator in ESTIMATORS:
        probe = pl.DataFrame(schema=dict.fromkeys(all_columns, pl.Null))
        expressions += [estimator.over_group(probe, statistics=options.statistics), group_mean(options.statistics)]
        read = {name for expression in expressions for name in expression.meta.root_names()}
        return [name for name in all_columns if name in read and name != "group_id"]
    reads_duplicate = any("duplicate" in expression.meta.root_names() for expression in expressions)
    return all_columns if reads_duplicate else all_columns[:-1]


def count_rewards(
    view: pl.DataFrame, recipe: Recipe, result: RecipeResult, is_own: np.ndarray | None = None
) -> pl.DataFrame:
    """The view with the combined reward, null where a filter before the statistics masks the sequence.

    Args:
        result: gets the counts of the filters.
        is_own: which rows belong to the table itself; by default all.

    Returns:
        the view with `combined`, `reward`, `unmasked`, `masked_by` and `newest_round`.
    """
    is_own = np.ones(len(view), dtype=bool) if is_own is None else is_own
    view = view.with_columns(
        combined_reward(recipe.weights, recipe.options).alias("combined"),
        pl.lit(True).alias("unmasked"),
        pl.lit(None, dtype=FILTER_NAMES).alias("masked_by"),
        pl.lit(result.newest_round, dtype=pl.Int32).alias("newest_round"),
    )
    view = view.with_columns(pl.col("combined").alias("reward"))
    for active, expression in active_filters(recipe.options, "before", recipe.estimator.uses_rewards):
        view = view.with_columns((expression.fill_null(False) & pl.col("unmasked")).alias("selected"))
        result.count(active.name, view, view["selected"] & view["combined"].is_not_null(), is_own)
        view = view.with_columns(
            pl.when(~pl.col("selected")).then("reward").alias("reward"),
            (pl.col("unmasked") & ~pl.col("selected")).alias("unmasked"),
            _masked_by(active.name),
        )
    return view


def table_values(view: pl.DataFrame, recipe: Recipe) -> pl.Series:
    """The values of the view's rows whose standard deviation over the table the estimator reads, as float64."""
    with own_code(f"Estimator '{recipe.options.estimator}'", recipe.estimator.plugin):
        expression = recipe.estimator.over_table(view, statistics=recipe.options.statistics)
        if not isinstance(expression, pl.Expr):
            raise _no_expression(recipe.options, expression)
        return view.select(expression.cast(pl.Float64).alias("value"))["value"]


def add_advantages(
    view: pl.DataFrame, recipe: Recipe, result: RecipeResult, is_own: np.ndarray | None = None
) -> pl.DataFrame:
    """The view of `count_rewards` with `advantage`, `mean` and `std`, after all filters.

    Args:
        result: has the table's standard deviation where the estimator reads it, and gets the counts of the filters.
        is_own: which rows belong to the table itself; by default all.
    """
    options, estimator = recipe.options, recipe.estimator
    is_own = np.ones(len(view), dtype=bool) if is_own is None else is_own
    if estimator.reads_table_std:
        view = view.with_columns(pl.lit(result.table_std, dtype=pl.Float64).alias("table_std"))
    statistics = group_mean(options.statistics).alias("mean"), group_std(options.statistics).alias("std")
    with own_code(f"Estimator '{options.estimator}'", estimator.plugin):
        expression = estimator.over_group(view, statistics=options.statistics)
        if not isinstance(expression, pl.Expr):
            raise _no_expression(options, expression)
        advantage = expression.cast(pl.Float64)
        rows = view.lazy().with_columns(advantage.alias("advantage"), *statistics).collect()
    rows = rows.with_columns(
        pl.when("unmasked").then("advantage").alias("advantage"), pl.col("combined").is_null().alias("selected")
    ).with_columns(_masked_by(UNSCORED))
    for active, expression in active_filters(options, "after", estimator.uses_rewards):
        selected = expression.fill_null(False) & pl.col("advantage").is_not_null()
        rows = rows.with_columns(selected.alias("selected"))
        result.count(active.name, rows, rows["selected"], is_own)
        replacement = pl.lit(active.replacement, dtype=pl.Float64)
        columns = [pl.when("selected").then(replacement).otherwise("advantage").alias("advantage")]
        columns += [_masked_by(active.name)] if active.replacement is None else []
        rows = rows.with_columns(columns)
    if options.reference_floor is not None:
        raised = pl.max_horizontal("advantage", pl.lit(options.reference_floor))
        has_advantage = (pl.col("sample_index") < 0) & pl.col("advantage").is_not_null()
        rows = rows.with_columns(pl.when(has_advantage).then(raised).otherwise("advantage").alias("advantage"))
    return rows


def _no_expression(options: AdvantagesOptions, value: object) -> StageFailure:
    return StageFailure(
        f"Estimator '{options.estimator}' returned {value!r:.100}. It is called with (view, statistics=…) and must "
        "return a Polars expression."
    )


def advantages_table(rows: pl.DataFrame, group_ids: pl.Series) -> pa.Table:
    """The rows of the advantages table, one per group.

    Args:
        rows: of `add_advantages`; the rows of a group are consecutive, its reference first.
        group_ids: of the groups, in order.
    """
    is_sample = rows["sample_index"].to_numpy() >= 0
    row = rows["row"].to_numpy()
    first = np.flatnonzero(np.diff(row, prepend=-1)) if len(row) else np.zeros(0, dtype=np.int64)
    num_samples = np.add.reduceat(is_sample, first, dtype=np.int32) if len(row) else np.zeros(0, dtype=np.int32)
    offsets = pl.Series(np.concatenate([[0], np.cumsum(num_samples)]), dtype=pl.Int32).to_arrow()
    columns_of_samples = pl.col("reward", "advantage").cast(pl.Float32), pl.col("masked_by").cast(pl.String)
    samples = rows.select(columns_of_samples).filter(pl.Series(is_sample))
    first_rows = rows.select(pl.col("reward", "advantage", "mean", "std").cast(pl.Float32))[first]
    has_no_reference = pl.Series(is_sample[first])
    columns = {
        "group_id": group_ids.to_arrow(),
        "rewards": pa.ListArray.from_arrays(offsets, samples["reward"].to_arrow()),
        "advantages": pa.ListArray.from_arrays(offsets, samples["advantage"].to_arrow()),
        "reference_advantage": first_rows["advantage"].set(has_no_reference, None).to_arrow(),
        "reward_mean": first_rows["mean"].to_arrow(),
        "reward_std": first_rows["std"].to_arrow(),
        "reference_reward": first_rows["reward"].set(has_no_reference, None).to_arrow(),
        "masked_by": pa.ListArray.from_arrays(offsets, samples["masked_by"].to_arrow()),
    }
    return pa.table({column.name: columns[column.name] for column in ADVANTAGES.columns if column.name in columns})


def _masked_by(name: str) -> pl.Expr:
    """The name of the filter where it is the first that masks the sequence."""
    is_first = pl.col("selected") & pl.col("masked_by").is_null()
    return pl.when(is_first).then(pl.lit(name, dtype=FILTER_NAMES)).otherwise("masked_by").alias("masked_by")
