"""How a flat view becomes advantages: what the options name, loaded, and what is found out on the way."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from grao_pipeline.advantages.columns import ColumnFunction, load_columns
from grao_pipeline.advantages.combine import load_combination
from grao_pipeline.advantages.estimators.base import Estimator
from grao_pipeline.advantages.filters import NAMED_FILTERS
from grao_pipeline.advantages.filters.by_options import FILTERS, Phase, active_filters
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.advantages.reshapes import RESHAPES
from grao_pipeline.advantages.token_weights.weigh import TokenFunction, load_token_functions

SUPPLIED = ("view", "statistics")


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

    @cached_property
    def combination(self) -> ColumnFunction:
        return load_combination(self.options)

    @cached_property
    def reshapes(self) -> tuple[ColumnFunction, ...]:
        return load_columns("reshape", self.options.reshape, self.options.reshape_arg, RESHAPES, SUPPLIED, "reshape")

    @cached_property
    def named_filters(self) -> tuple[ColumnFunction, ...]:
        return load_columns("filter", self.options.filter, self.options.filter_arg, NAMED_FILTERS, SUPPLIED, "filter")

    @cached_property
    def token_functions(self) -> tuple[TokenFunction, ...]:
        return load_token_functions(self.options)

    @cached_property
    def filter_names(self) -> pl.Enum:
        return pl.Enum([candidate.name for candidate in FILTERS] + [named.name for named in self.named_filters])

    def filters(self, view: pl.DataFrame, phase: Phase) -> "Iterator[ActiveFilter]":
        """The filters of a phase: those of the options, then the named ones."""
        for described, expression in active_filters(self.options, phase, self.estimator.uses_rewards):
            yield ActiveFilter(described.name, expression, described.replacement)
        for named in self.named_filters:
            if named.trait("before_statistics", False) == (phase == "before"):
                yield ActiveFilter(named.name, named(view, statistics=self.options.statistics))

    def load(self) -> "Recipe":
        """Load all that the options name.

        Raises:
            UsageError: a name or an argument is unknown or wrong.
        """
        _ = self.combination, self.reshapes, self.named_filters, self.token_functions
        return self


@dataclass(frozen=True)
class ActiveFilter:
    """A filter that is switched on."""

    name: str
    expression: pl.Expr
    replacement: float | None = None
    """The advantage that the selected sequences get; None masks them."""


@dataclass(frozen=True)
class Statistic:
    """Mean, population standard deviation and number of some values over a whole table."""

    mean: float | None
    std: float | None
    count: int

    def columns(self, name: str) -> list[pl.Expr]:
        values = {"mean": self.mean, "std": self.std, "count": float(self.count)}
        if not name:
            return [pl.lit(self.std, dtype=pl.Float64).alias("table_std")]
        return [pl.lit(value, dtype=pl.Float64).alias(f"table_{key}.{name}") for key, value in values.items()]


Statistics = dict[str, Statistic]
"""By the name that the columns end with; without a name it is column `table_std` alone."""


@dataclass
class RecipeResult:
    """What a recipe finds out about the whole table, part by part."""

    newest_round: int | None = None
    of_rewards: Statistics = field(default_factory=dict)
    """What the combination reads."""
    of_table: Statistics = field(default_factory=dict)
    """What the estimator reads."""
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
        masked.groups += count_groups(view["row"].to_numpy()[selected])


def count_groups(row: np.ndarray) -> int:
    """How many groups rows belong to, where those of a group are consecutive.

    Args:
        row: [S], the position of each one's group.
    """
    return int(np.count_nonzero(np.diff(row))) + 1 if len(row) else 0
