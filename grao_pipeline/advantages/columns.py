"""Column functions: plain functions from the flat view to a Polars expression, named on the command line.

Combinations, reshapes and filters are column functions, and so may an estimator be. A function's further parameters are
its arguments, with the types and help texts of their annotations:

    def unlikely(view, *, statistics, beta: Annotated[float, Field(description="…", ge=0.0)] = 0.25) -> pl.Expr

What others must know of it are its attributes (`grao_pipeline.methods.traits`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from grao_pipeline.arguments import PluginArguments
from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.own_code import own_code
from grao_pipeline.parsing import key_values
from grao_pipeline.plugin_functions import load_function


@dataclass(frozen=True)
class ColumnFunction:
    """A column function with its arguments.

    Example: `ColumnFunction("reshape", "unlikely", unlikely, arguments, True)(view, statistics="samples")`
    """

    kind: str
    name: str
    function: Callable[..., Any]
    arguments: PluginArguments
    is_built_in: bool

    def __call__(self, view: pl.DataFrame, **supplied: object) -> pl.Expr:
        """The expression.

        Raises:
            StageFailure: a function of the user's failed, or returned something else.
        """
        with own_code(self.described, self.function):
            expression = self.function(view, **supplied, **dict(self.arguments))
            if not isinstance(expression, pl.Expr):
                raise StageFailure(
                    f"{self.described} returned {expression!r:.100}. It is called with (view, "
                    f"{', '.join(f'{name}=…' for name in supplied)}) and must return a Polars expression."
                )
            return expression

    @property
    def described(self) -> str:
        return f"{self.kind.capitalize().replace('_', ' ')} '{self.name}'"

    def trait(self, name: str, default: Any) -> Any:
        """What the function declares of itself."""
        return getattr(self.function, name, default)

    def over_table(self, view: pl.DataFrame, **supplied: object) -> dict[str, pl.Expr]:
        """By name, the values whose mean and standard deviation over the table it reads."""
        values = self.trait("over_table", None)
        return dict(values(view, **supplied, **dict(self.arguments))) if values is not None else {}


def load_columns(
    kind: str,
    names: Sequence[str],
    pairs: Sequence[str],
    registry: Mapping[str, str],
    supplied: Collection[str],
    option: str,
) -> tuple[ColumnFunction, ...]:
    """Several column functions of a kind, in the order given; see `load_functions`."""
    loaded = load_functions(kind, names, pairs, registry, supplied, option)
    return tuple(
        ColumnFunction(kind, name, function, arguments, name in registry)
        for name, (function, arguments) in loaded.items()
    )


def load_functions(
    kind: str,
    names: Sequence[str],
    pairs: Sequence[str],
    registry: Mapping[str, str],
    supplied: Collection[str],
    option: str,
) -> dict[str, tuple[Callable[..., Any], PluginArguments]]:
    """Several functions of a kind by name, in the order given, with their arguments.

    Args:
        pairs: `NAME.key=value`.

    Raises:
        UsageError: see `load_function`; or a name is given twice, or an argument is of none of them.
    """
    argument_option = f"{option}_arg"
    by_name: dict[str, dict[str, object]] = {name: {} for name in names}
    if len(by_name) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"'{twice}' is given twice.", option=option)
    for key, value in key_values(pairs, argument_option).items():
        owner = next((name for name in names if key.startswith(f"{name}.")), None)
        if owner is None:
            known = ", ".join(names) or "none is given"
            raise UsageError(
                f"{key}={value}: expected NAME.key=value, NAME being one of: {known}.", option=argument_option
            )
        by_name[owner][key.removeprefix(f"{owner}.")] = value
    return {
        name: load_function(kind, name, registry, given, supplied, option, argument_option)
        for name, given in by_name.items()
    }
