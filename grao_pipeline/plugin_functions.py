"""Plug-ins that are plain functions: named on the command line, with their further parameters as arguments."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from grao_pipeline.arguments import PluginArguments, function_arguments, parse_arguments
from grao_pipeline.errors import UsageError
from grao_pipeline.own_code import own_code
from grao_pipeline.plugins import load


def load_function(
    kind: str,
    name: str,
    registry: Mapping[str, str],
    given: Mapping[str, object],
    supplied: Collection[str],
    option: str,
    argument_option: str,
) -> tuple[Callable[..., Any], PluginArguments]:
    """The function of a name, with its arguments.

    Args:
        given: the arguments, as `parse_arguments` takes them.
        supplied: the parameters that are not arguments.
        option, argument_option: that gave the name and the arguments, for errors.

    Raises:
        UsageError: the name is unknown, or is not that of a function; or an argument is unknown, missing or wrong.
    """
    plugin = load(kind, name, registry, option)
    described = f"{kind.replace('_', ' ')} '{name}'"
    if inspect.isclass(plugin) or not callable(plugin):
        raise UsageError(f"'{name}' is not a function. A {kind.replace('_', ' ')} is one.", option=option)
    with own_code(described.capitalize(), plugin, option=option):
        model = function_arguments(plugin, supplied)
    return plugin, parse_arguments(model, given, described, argument_option)
