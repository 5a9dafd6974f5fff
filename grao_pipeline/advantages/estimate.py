"""A flat view with rewards → the advantage of every sequence, and what each filter masked."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa

from grao_pipeline.advantages.combine import combined_reward
from grao_pipeline.advantages.estimators import ESTIMATORS, group_mean, group_std
from grao_pipeline.advantages.filters import AFTER, BEFORE, active
from grao_pipeline.advantages.filters.truncated import zeroed
from grao_pipeline.advantages.flat_view import view_columns
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.parsing import finite_number, key_values
from grao_pipeline.plugins import load
from grao_pipeline.schemas import ADVANTAGES

Estimator = Callable[..., pl.Expr]


@dataclass
class Masked:
    """How many samples a filter masked, and in how many groups it masked something."""

    samples: int = 0
    groups: int = 0


@dataclass
class Recipe:
    """Everything that turns a flat view into advantages.

    Example: `Recipe(AdvantagesOptions(), {"gsm8k": 1.0}, load_estimator(options))`
    """

    options: AdvantagesOptions
    weights: Mapping[str, float]
    estimator: Estimator
    newest_round: int | None = None
    table_std: float | None = None
    masked: dict[str, Masked] = field(default_factory=dict)
    """Counted along the way, by the filter's name."""

    def constants(self) -> list[pl.Expr]:
        """What holds for the whole table, as columns of the view."""
        return [
            pl.lit(self.newest_round, dtype=pl.Int32).alias("newest_round"),
            pl.lit(self.table_std, dtype=pl.Float64).alias("table_std"),
        ]


def load_estimator(options: AdvantagesOptions) -> Estimator:
    """The estimator with its arguments.

    Raises:
        UsageError: there is no such estimator, or it has no such argument.
    """
    estimator: Estimator = load("estimator", options.estimator, ESTIMATORS)
    arguments = {}
    allowed = [name for name in inspect.signature(estimator).parameters if name not in ("view", "statistics")]
    for name, text in key_values(options.estimator_arg, "estimator_arg").items():
        if name not in allowed:
            known = ", ".join(allowed) or "none"
            raise UsageError(f"--estimator-arg {name}: {options.estimator} has no such argument. It has: {known}.")
        number = finite_number(text)
        if number is None:
            raise UsageError(f"--estimator-arg {name}={text}: {text!r} is not a number.")
        arguments[name] = number
    return partial(estimator, **arguments) if arguments else estimator


def over_table(estimator: Estimator) -> Estimator | None:
    """The expression whose deviation over the whole table the estimator needs; see `estimators/__init__.py`."""
    function = estimator.func if isinstance(estimator, partial) else estimator
    found: Estimator | None = getattr(function, "over_table", None)
    return found


def needed_columns(recipe: Recipe) -> list[str]:
    """The columns of the flat view that estimator, filters and combination read; all of them for an estimator of
    somebody's own, which may look at the view itself.
    """
    options = recipe.options
    everything = [*view_columns(recipe.weights), "duplicate"]
    filters = [*active(BEFORE, options).values(), *active(AFTER, options).values(), zeroed(options)]
    expressions = [combined_reward(recipe.weights, options), *(one for one in filters if one is not None)]
    if options.estimator in ESTIMATORS:
        probe = pl.DataFrame(schema=dict.fromkeys(everything, pl.Null))
        expressions += [recipe.estimator(probe, statistics=options.statistics), group_mean(options.statistics)]
        everything_read = {name for expression in expressions for name in expression.meta.root_names()}
        return [name for name in everything if name in everything_read and name != "group_id"]
    duplicate = any("duplicate" in expression.meta.root_names() for expression in expressions)
    return everything if duplicate else everything[:-1]


def count_rewards(view: pl.DataFrame, recipe: Recipe, own: np.ndarray | None = None) -> pl.DataFrame:
    """The view with the combined reward, null where a filter before the statistics masks it.

    Args:
        own: where rows are the table's own, which alone are counted as masked; by default all are.

    Returns:
        the view with `combined`, `reward`, `live` (not masked) and the constants.
    """
    combined = combined_reward(recipe.weights, recipe.options)
    view = view.with_columns(combined.alias("combined"), pl.lit(True).alias("live"), *recipe.constants())
    view = view.with_columns(pl.col("combined").alias("reward"))
    for name, expression in active(BEFORE, recipe.options).items():
        view = view.with_columns((expression.fill_null(False) & pl.col("live")).alias("hit"))
        _count(view, name, "combined", recipe, own)
        kept = pl.when(~pl.col("hit")).then("reward").alias("reward")
        view = view.with_columns(kept, (pl.col("live") & ~pl.col("hit")).alias("live"))
    return view


def add_advantages(view: pl.DataFrame, recipe: Recipe, own: np.ndarray | None = None) -> pl.DataFrame:
    """The view of `count_rewards` with `advantage`, `mean` and `std`, after the filters after the statistics."""
    options = recipe.options
    statistics = group_mean(options.statistics).alias("mean"), group_std(options.statistics).alias("std")
    with _named(options):
        advantage = recipe.estimator(view, statistics=options.statistics).cast(pl.Float64)
        rows = view.lazy().with_columns(advantage.alias("advantage"), *statistics).collect()
    live = pl.lit(True) if "live" not in rows.columns else pl.col("live")
    rows = rows.with_columns(pl.when(live).then("advantage").alias("advantage"))
    for name, expression in active(AFTER, options).items():
        rows = rows.with_columns(expression.fill_null(False).alias("hit"))
        _count(rows, name, "advantage", recipe, own)
        rows = rows.with_columns(pl.when(~pl.col("hit")).then("advantage").alias("advantage"))
    is_zeroed = zeroed(options)
    if is_zeroed is not None:
        rows = rows.with_columns(is_zeroed.alias("hit"))
        _count(rows, "truncated", "advantage", recipe, own)
        zero = pl.when(pl.col("hit") & pl.col("advantage").is_not_null()).then(0.0).otherwise("advantage")
        rows = rows.with_columns(zero.alias("advantage"))
    if options.reference_floor is not None:
        floored = pl.max_horizontal("advantage", pl.lit(options.reference_floor))
        clamp = (pl.col("sample_index") < 0) & pl.col("advantage").is_not_null()
        rows = rows.with_columns(pl.when(clamp).then(floored).otherwise("advantage").alias("advantage"))
    return rows


def advantages_table(rows: pl.DataFrame, group_ids: pa.ChunkedArray | pa.Array) -> pa.Table:
    """The rows of the advantages table, one per group.

    Args:
        rows: of `add_advantages`, those of a group together and its reference first.
        group_ids: of the groups, in order.
    """
    is_sample = rows["sample_index"].to_numpy() >= 0
    row = rows["row"].to_numpy()
    first = np.flatnonzero(np.diff(row, prepend=-1)) if len(row) else np.zeros(0, dtype=np.int64)
    samples = np.add.reduceat(is_sample, first, dtype=np.int32) if len(row) else np.zeros(0, dtype=np.int32)
    offsets = pl.Series(np.concatenate([[0], np.cumsum(samples)]), dtype=pl.Int32).to_arrow()
    of_samples = rows.select(pl.col("reward", "advantage").cast(pl.Float32)).filter(pl.Series(is_sample))
    heads = rows.select(pl.col("advantage", "mean", "std").cast(pl.Float32))[first]
    of_reference = heads["advantage"].set(pl.Series(is_sample[first]), None)
    columns = {
        "group_id": group_ids,
        "rewards": pa.ListArray.from_arrays(offsets, of_samples["reward"].to_arrow()),
        "advantages": pa.ListArray.from_arrays(offsets, of_samples["advantage"].to_arrow()),
        "reference_advantage": of_reference.to_arrow(),
        "reward_mean": heads["mean"].to_arrow(),
        "reward_std": heads["std"].to_arrow(),
    }
    return pa.table({column.name: columns[column.name] for column in ADVANTAGES.columns if column.name in columns})


def advantages_of(view: pl.DataFrame, estimator: Estimator, options: AdvantagesOptions) -> pa.Table:
    """The advantages table of a flat view that has the combined `reward`, without the filters before the statistics."""
    rows = add_advantages(view, Recipe(options, {}, estimator))
    ids = rows["group_id"].gather(np.flatnonzero(np.diff(rows["row"].to_numpy().astype(np.int64), prepend=-1)))
    return advantages_table(rows, ids.cast(pl.String).to_arrow().cast(pa.string()))


@contextmanager
def _named(options: AdvantagesOptions) -> Iterator[None]:
    """Raises StageFailure where somebody's own estimator fails; a failure of ours is a bug and keeps its traceback."""
    try:
        yield
    except Exception as error:
        if options.estimator in ESTIMATORS:
            raise
        raise StageFailure(
            f"Estimator '{options.estimator}' failed: {type(error).__name__}: {error}. It is called as "
            "f(view, statistics=…) and returns a Polars expression."
        ) from error


def _count(view: pl.DataFrame, name: str, had: str, recipe: Recipe, own: np.ndarray | None) -> None:
    """Add what column `hit` masks, of the rows that had a value, to the filter's count."""
    hit = (view["hit"] & view[had].is_not_null()).to_numpy()
    if own is not None:
        hit = hit & own
    count = recipe.masked.setdefault(name, Masked())
    count.samples += int((hit & (view["sample_index"].to_numpy() >= 0)).sum())
    count.groups += len(np.unique(view["row"].to_numpy()[hit]))
