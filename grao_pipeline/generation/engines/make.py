"""Name of an engine and its `--engine-arg` → an engine."""

import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass

from grao_pipeline.arguments import PluginArguments, parse_arguments
from grao_pipeline.errors import UsageError
from grao_pipeline.generation.engines import ENGINES
from grao_pipeline.generation.engines.base import Engine, EngineOptions
from grao_pipeline.plugins import load


@dataclass(frozen=True)
class EngineRecipe:
    """How to open an engine, as data that can be sent to another machine.

    Example: `EngineRecipe("vllm", {"max_num_seqs": "64"}, engine_options).open()`
    """

    name: str
    arguments: Mapping[str, str]
    """`--engine-arg key=value`, not parsed yet: a machine parses them with the class that it has loaded."""
    options: EngineOptions

    def open(self) -> Engine:
        """Load the policy.

        Raises:
            UsageError: there is no such engine, or it refuses an option or argument.
            InputError: the model cannot be loaded.
        """
        engine_class = load_engine_class(self.name)
        return engine_class(self.options, parse_engine_arguments(self.name, self.arguments))


def resolve_engine_name(name: str) -> str:
    """`auto` is `vllm` where vLLM is installed, else `transformers`."""
    if name != "auto":
        return name
    return "vllm" if importlib.util.find_spec("vllm") is not None else "transformers"


def load_engine_class(name: str) -> type[Engine]:
    """The class of a built-in engine, of an entry point, or of the user's `package.module:Class`.

    Raises:
        UsageError: there is no such engine, or it is not one.
    """
    engine_class = load("engine", name, ENGINES)
    if not isinstance(engine_class, type) or not issubclass(engine_class, Engine):
        raise UsageError(
            f"'{name}' is not an engine: it must be a subclass of {Engine.__module__}.{Engine.__name__}.",
            option="engine",
        )
    if inspect.isabstract(engine_class):
        missing = ", ".join(sorted(engine_class.__abstractmethods__))
        raise UsageError(f"engine '{name}' has no method {missing}.", option="engine")
    if not (isinstance(engine_class.Arguments, type) and issubclass(engine_class.Arguments, PluginArguments)):
        raise UsageError(f"engine '{name}': its Arguments must be a subclass of PluginArguments.", option="engine")
    try:
        inspect.signature(engine_class).bind("options", "arguments")
    except TypeError as error:
        raise UsageError(
            f"engine '{name}' must be constructed with (options, arguments): {error}.", option="engine"
        ) from None
    return engine_class


def parse_engine_arguments(name: str, given: Mapping[str, str]) -> PluginArguments:
    """The `--engine-arg` of an engine, converted and checked.

    Raises:
        UsageError: an argument is unknown, reserved or wrong.
    """
    return parse_arguments(load_engine_class(name).Arguments, given, f"engine '{name}'", "engine_arg")
