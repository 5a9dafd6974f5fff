"""`--combine`: the combination that the options name, and whether its options fit each other and the rewards."""

import polars as pl

from grao_pipeline.advantages.columns import ColumnFunction
from grao_pipeline.advantages.combinations import COMBINATIONS
from grao_pipeline.advantages.combinations.rewards import Weights
from grao_pipeline.advantages.estimators.load import load_estimator
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.arguments import arguments_of
from grao_pipeline.errors import UsageError
from grao_pipeline.parsing import finite_number, key_values
from grao_pipeline.plugin_functions import load_function
from grao_pipeline.plugins import load

SUPPLIED = ("view", "weights", "statistics")
PROBE = pl.DataFrame()
"""In place of the view, for a combination that does not look at it."""


def load_combination(options: AdvantagesOptions) -> ColumnFunction:
    """The combination that the options name, with its arguments.

    Raises:
        UsageError: the name is unknown, or an argument is unknown, missing or wrong.
    """
    given: dict[str, object] = dict(key_values(options.combine_arg, "combine_arg"))
    if options.uncertainty_penalty is not None:
        given["penalty"] = options.uncertainty_penalty
    if options.gate:
        given["gate"] = parse_gates(options.gate)
    kind, name = "combination", options.combine
    function, arguments = load_function(kind, name, COMBINATIONS, given, SUPPLIED, "combine", "combine_arg")
    return ColumnFunction(kind, name, function, arguments, name in COMBINATIONS)


def combined_reward(weights: Weights, options: AdvantagesOptions, view: pl.DataFrame = PROBE) -> pl.Expr:
    """The combined reward that the options ask for, as float32. `check_combination` tells which options fit."""
    return load_combination(options)(view, weights=weights, statistics=options.statistics).cast(pl.Float32)


def parse_gates(entries: list[str]) -> dict[str, float]:
    """`["format=1"]` → `{"format": 1.0}`.

    Raises:
        UsageError: an entry is not NAME=THRESHOLD, or names a reward a second time.
    """
    gates: dict[str, float] = {}
    for entry in entries:
        ((name, text),) = key_values([entry], "gate").items()
        threshold = finite_number(text)
        if threshold is None:
            raise UsageError(f"{entry}: the threshold {text!r} is not a number. Write NAME=THRESHOLD.", option="gate")
        if name in gates:
            raise UsageError(f"{entry}: reward '{name}' already has a gate.", option="gate")
        gates[name] = threshold
    return gates


def check_combination(options: AdvantagesOptions, weights: Weights) -> None:
    """Check that the options of the combination fit each other and the rewards.

    Args:
        weights: by the rewards' names, in the order in which they are given.

    Raises:
        UsageError: names the option that does not fit.
    """
    takes = load_column_arguments(options)
    if options.gate and "gate" not in takes:
        raise UsageError(f"only --combine lexicographic has gates, not '{options.combine}'.", option="gate")
    needed = load_estimator(options).needs_combination
    if needed and options.combine != needed:
        raise UsageError(
            f"'{options.estimator}' needs --combine {needed}, not '{options.combine}'.", option="estimator"
        )
    if options.uncertainty_penalty is not None and "penalty" not in takes:
        raise UsageError(
            f"only --combine uncertainty has a penalty, not '{options.combine}'.", option="uncertainty_penalty"
        )
    combination = load_combination(options)
    if combination.trait("needs_several", False):
        _check_several(options.combine, weights)
    if combination.is_built_in:
        combined_reward(weights, options)


def load_column_arguments(options: AdvantagesOptions) -> set[str]:
    """The names of the combination's arguments."""
    plugin = load("combination", options.combine, COMBINATIONS, "combine")
    return set(arguments_of(plugin, SUPPLIED).model_fields)


def _check_several(combine: str, weights: Weights) -> None:
    if len(weights) < 2:
        raise UsageError(
            f"'{combine}' combines several rewards; there is only one ({', '.join(weights)}).", option="combine"
        )
    unweighted = next((name for name, weight in weights.items() if weight == 0), None)
    if unweighted is not None:
        raise UsageError(
            f"'{combine}' would treat reward '{unweighted}', whose weight is 0, as a reward that is always 0. "
            "Leave its scores out.",
            option="combine",
        )
