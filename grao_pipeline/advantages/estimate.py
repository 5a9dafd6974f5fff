"""A flat view with rewards → the advantage of every sequence, and the counts of the filters."""

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl
import pyarrow as pa

from grao_pipeline.advantages.estimators import ESTIMATORS
from grao_pipeline.advantages.estimators.base import Estimator, group_mean, group_std
from grao_pipeline.advantages.filters.by_options import active_filters
from grao_pipeline.advantages.flat_view import view_columns
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.advantages.recipe import Recipe, RecipeResult, Statistics
from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.own_code import own_code
from grao_pipeline.schemas import ADVANTAGES

UNSCORED = "unscored"


def needed_columns(recipe: Recipe, features: Collection[str] = ()) -> list[str]:
    """The columns of the flat view that the recipe reads; all columns for a user's own function or estimator, which may
    look at the view itself, with those that its attribute `reads` names.

    Args:
        features: the names of `--feature`.

    Raises:
        UsageError: a feature is read and not given.
    """
    options, estimator, statistics = recipe.options, recipe.estimator, recipe.options.statistics
    all_columns = [*view_columns(recipe.weights), "duplicate", *(f"feature.{name}" for name in features)]
    probe = pl.DataFrame(schema=dict.fromkeys(all_columns, pl.Null))
    functions = (*recipe.reshapes, *recipe.named_filters)
    expressions: list[pl.Expr] = []
    for phase in ("before", "after"):
        expressions += [expression for _, expression in active_filters(options, phase, estimator.uses_rewards)]
    if recipe.combination.is_built_in:
        expressions.append(recipe.combination(probe, weights=recipe.weights, statistics=statistics))
        expressions += recipe.combination.over_table(probe, weights=recipe.weights).values()
    expressions += [function(probe, statistics=statistics) for function in functions if function.is_built_in]
    if options.estimator in ESTIMATORS:
        expressions += [estimator.over_group(probe, statistics=statistics), group_mean(statistics)]
        expressions += _over_table(estimator, probe, statistics).values()
    read = {name for expression in expressions for name in expression.meta.root_names()}
    custom = [function.function for function in (*functions, recipe.combination) if not function.is_built_in]
    custom += [] if options.estimator in ESTIMATORS else [estimator.plugin]
    read |= {str(name) for plugin in custom for name in getattr(plugin, "reads", ())}
    absent = sorted(name for name in read if name.startswith("feature.") and name not in all_columns)
    if absent:
        raise UsageError(
            f"column '{absent[0]}' is read: give {absent[0].removeprefix('feature.')}=TABLE.", option="feature"
        )
    metadata = sorted(name for name in read if name.startswith("metadata."))
    if not custom:
        return [name for name in all_columns if name in read and name != "group_id"] + metadata
    return [name for name in all_columns if name != "duplicate" or name in read] + metadata


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
    view = _with_statistics(view, result.of_rewards)
    combined = recipe.combination(view, weights=recipe.weights, statistics=recipe.options.statistics)
    view = view.with_columns(
        combined.cast(pl.Float32).alias("combined"),
        pl.lit(True).alias("unmasked"),
        pl.lit(None, dtype=recipe.filter_names).alias("masked_by"),
        pl.lit(result.newest_round, dtype=pl.Int32).alias("newest_round"),
    )
    view = view.with_columns(pl.col("combined").alias("reward"))
    for active in recipe.filters(view, "before"):
        view = view.with_columns((active.expression.fill_null(False) & pl.col("unmasked")).alias("selected"))
        result.count(active.name, view, view["selected"] & view["combined"].is_not_null(), is_own)
        view = view.with_columns(
            pl.when(~pl.col("selected")).then("reward").alias("reward"),
            (pl.col("unmasked") & ~pl.col("selected")).alias("unmasked"),
            _masked_by(active.name, recipe),
        )
    for reshape in recipe.reshapes:
        reshaped = reshape(view, statistics=recipe.options.statistics).cast(pl.Float32)
        view = view.with_columns(pl.when(pl.col("reward").is_not_null()).then(reshaped).alias("reward"))
    return view


def reward_values(view: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The values of the view's rows whose statistics over the table the combination reads, as float64."""
    values = recipe.combination.over_table(view, weights=recipe.weights)
    return view.select(expression.cast(pl.Float64).alias(name) for name, expression in values.items())


def table_values(view: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The values of the view's rows whose statistics over the table the estimator reads, as float64."""
    with own_code(f"Estimator '{recipe.options.estimator}'", recipe.estimator.plugin):
        values = _over_table(recipe.estimator, view, recipe.options.statistics)
        for expression in values.values():
            if not isinstance(expression, pl.Expr):
                raise _no_expression(recipe.options, expression)
        return view.select(expression.cast(pl.Float64).alias(name) for name, expression in values.items())


def _over_table(estimator: Estimator, view: pl.DataFrame, statistics: str) -> dict[str, pl.Expr]:
    if not estimator.reads_table_std:
        return {}
    values = estimator.over_table(view, statistics=statistics)
    return dict(values) if isinstance(values, Mapping) else {"": values}  # type: ignore[dict-item]  # checked by the caller


def _with_statistics(view: pl.DataFrame, statistics: Statistics) -> pl.DataFrame:
    return view.with_columns(column for name, values in statistics.items() for column in values.columns(name))


def add_advantages(
    view: pl.DataFrame, recipe: Recipe, result: RecipeResult, is_own: np.ndarray | None = None
) -> pl.DataFrame:
    """The view of `count_rewards` with `advantage`, `mean` and `std`, after all filters.

    Args:
        result: has the statistics over the table that the estimator reads, and gets the counts of the filters.
        is_own: which rows belong to the table itself; by default all.
    """
    options, estimator = recipe.options, recipe.estimator
    is_own = np.ones(len(view), dtype=bool) if is_own is None else is_own
    view = _with_statistics(view, result.of_table)
    statistics = group_mean(options.statistics).alias("mean"), group_std(options.statistics).alias("std")
    with own_code(f"Estimator '{options.estimator}'", estimator.plugin):
        expression = estimator.over_group(view, statistics=options.statistics)
        if not isinstance(expression, pl.Expr):
            raise _no_expression(options, expression)
        advantage = expression.cast(pl.Float64)
        rows = view.lazy().with_columns(advantage.alias("advantage"), *statistics).collect()
    rows = rows.with_columns(
        pl.when("unmasked").then("advantage").alias("advantage"), pl.col("combined").is_null().alias("selected")
    ).with_columns(_masked_by(UNSCORED, recipe))
    for active in recipe.filters(rows, "after"):
        selected = active.expression.fill_null(False) & pl.col("advantage").is_not_null()
        rows = rows.with_columns(selected.alias("selected"))
        result.count(active.name, rows, rows["selected"], is_own)
        replacement = pl.lit(active.replacement, dtype=pl.Float64)
        columns = [pl.when("selected").then(replacement).otherwise("advantage").alias("advantage")]
        columns += [_masked_by(active.name, recipe)] if active.replacement is None else []
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


def _masked_by(name: str, recipe: Recipe) -> pl.Expr:
    """The name of the filter where it is the first that masks the sequence."""
    is_first = pl.col("selected") & pl.col("masked_by").is_null()
    return pl.when(is_first).then(pl.lit(name, dtype=recipe.filter_names)).otherwise("masked_by").alias("masked_by")
