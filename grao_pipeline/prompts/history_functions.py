"""Priorities and budgets by their names, called on the history of the prompts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from grao_pipeline.arguments import PluginArguments
from grao_pipeline.errors import StageFailure
from grao_pipeline.own_code import own_code
from grao_pipeline.parsing import key_values
from grao_pipeline.plugin_functions import load_function
from grao_pipeline.plugins import named_source
from grao_pipeline.prompts.budgets import BUDGETS
from grao_pipeline.prompts.options import CurriculumOptions
from grao_pipeline.prompts.priorities import PRIORITIES

PRIORITY, BUDGET = "priority", "budget"
SUPPLIED = ("history", "total", "success_threshold")


@dataclass(frozen=True)
class HistoryFunction:
    """A priority or a budget with its arguments."""

    kind: str
    name: str
    function: Callable[..., Any]
    arguments: PluginArguments
    success_threshold: float

    @property
    def reads_tokens(self) -> bool:
        return bool(getattr(self.function, "reads_tokens", False))

    def priorities(self, history: pl.DataFrame) -> pl.Series:
        """A number for every row of the history; null where it says nothing.

        Raises:
            StageFailure: a function of the user's failed, or returned something else than such numbers.
        """
        with own_code(self._described, self.function):
            expression = self._call(history)
            if not isinstance(expression, pl.Expr):
                raise StageFailure(
                    f"{self._described} returned {expression!r:.100}; it must return a Polars expression."
                )
            values = history.select(expression.cast(pl.Float64).alias(PRIORITY)).to_series()
            if len(values) != history.height or not (values.is_finite() & (values >= 0.0)).fill_null(True).all():
                raise StageFailure(f"{self._described} gave other values than one finite number from 0 on per prompt.")
            return values

    def counts(self, history: pl.DataFrame, total: int) -> list[int]:
        """A number of samples for every row of the history, at most `total` together.

        Raises:
            UsageError: the total does not fit the budget's arguments.
            StageFailure: a function of the user's failed, or returned something else than such numbers.
        """
        with own_code(self._described, self.function):
            counts = list(self._call(history, total))
            is_whole = all(isinstance(count, int) and count >= 0 for count in counts)
            if not is_whole or len(counts) != history.height or sum(counts) > total:
                raise StageFailure(
                    f"{self._described} gave other values than one whole number of samples per prompt, at most {total} "
                    "together."
                )
            return counts

    @property
    def _described(self) -> str:
        return f"{self.kind.capitalize()} '{self.name}'"

    def _call(self, *given: object) -> Any:
        return self.function(*given, success_threshold=self.success_threshold, **dict(self.arguments))


def load_priority(options: CurriculumOptions) -> HistoryFunction:
    """The priority that the options name.

    Raises:
        UsageError: the name is unknown, or an argument is unknown, missing or wrong.
    """
    return _load(PRIORITY, options.priority, options.priority_arg, PRIORITIES, options)


def load_budget(options: CurriculumOptions) -> HistoryFunction | None:
    """The budget that the options name; None without one. Raises as `load_priority`."""
    return None if options.budget is None else _load(BUDGET, options.budget, options.budget_arg, BUDGETS, options)


def own_sources(options: CurriculumOptions) -> dict[str, str]:
    """The code of a user's priority and budget, for the fingerprint."""
    sources = named_source(PRIORITY, options.priority, PRIORITIES)
    return sources | (named_source(BUDGET, options.budget, BUDGETS) if options.budget is not None else {})


def _load(
    kind: str, name: str, pairs: list[str], registry: Mapping[str, str], options: CurriculumOptions
) -> HistoryFunction:
    option = f"{kind}_arg"
    given = key_values(pairs, option)
    function, arguments = load_function(kind, name, registry, given, SUPPLIED, kind, option)
    return HistoryFunction(kind, name, function, arguments, options.success_threshold)
