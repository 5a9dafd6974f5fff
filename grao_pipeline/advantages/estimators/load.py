"""The name of an estimator and its arguments → the estimator."""

import inspect
from collections.abc import Callable

import polars as pl

from grao_pipeline.advantages.estimators import ESTIMATORS
from grao_pipeline.advantages.estimators.base import Estimator
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.arguments import PluginArguments, function_arguments, parse_arguments
from grao_pipeline.errors import UsageError
from grao_pipeline.own_code import own_code
from grao_pipeline.parsing import key_values
from grao_pipeline.plugins import load

SUPPLIED = ("view", "statistics")


class FunctionEstimator(Estimator):
    """An estimator from a plain function `f(view, *, statistics, …)` that returns the advantage as an expression."""

    def __init__(self, function: Callable[..., pl.Expr], arguments: PluginArguments) -> None:
        super().__init__(arguments)
        self._function = function

    @property
    def plugin(self) -> Callable[..., object]:
        return self._function

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        return self._function(view, statistics=statistics, **dict(self.arguments))


def load_estimator(options: AdvantagesOptions) -> Estimator:
    """The estimator that the options name, with its arguments.

    Raises:
        UsageError: the name is unknown, is not that of an estimator, or an argument is unknown or wrong.
    """
    plugin: object = load("estimator", options.estimator, ESTIMATORS)
    values = key_values(options.estimator_arg, "estimator_arg")
    described = f"estimator '{options.estimator}'"
    if isinstance(plugin, type) and issubclass(plugin, Estimator):
        with own_code(described.capitalize(), plugin, option="estimator"):
            return plugin(parse_arguments(plugin.Arguments, values, described, "estimator_arg"))
    if inspect.isclass(plugin) or not callable(plugin):
        raise UsageError(
            f"'{options.estimator}' is neither a function nor a subclass of Estimator "
            "(grao_pipeline.advantages.estimators.base).",
            option="estimator",
        )
    with own_code(described.capitalize(), plugin, option="estimator"):
        model = function_arguments(plugin, SUPPLIED)
    return FunctionEstimator(plugin, parse_arguments(model, values, described, "estimator_arg"))
