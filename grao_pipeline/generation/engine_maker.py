"""The options of `grao generate` → the function that opens its engine, in this process or on a Ray cluster."""

from collections.abc import Callable

from grao_pipeline.arguments import PluginArguments, parse_arguments
from grao_pipeline.errors import UsageError
from grao_pipeline.generation.engines.base import SAMPLING_OPTIONS, Engine, EngineOptions
from grao_pipeline.generation.engines.make import (
    EngineRecipe,
    load_engine_class,
    parse_engine_arguments,
    resolve_engine_name,
)
from grao_pipeline.generation.kept_engine import lent_engine
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.parsing import key_values
from grao_pipeline.progress import Progress


def parse_sampling_arguments(options: GenerateOptions) -> PluginArguments:
    """The `--sampling-arg` of the engine, converted and checked.

    Raises:
        UsageError: an argument is unknown or wrong.
    """
    name = resolve_engine_name(options.engine)
    given = key_values(options.sampling_arg, "sampling_arg")
    return parse_arguments(load_engine_class(name).SamplingArguments, given, f"engine '{name}'", "sampling_arg")


def check_engine(options: GenerateOptions) -> None:
    """Check that the engine has every argument, and follows every option of sampling, that is given.

    Raises:
        UsageError: there is no such engine, an argument is unknown, reserved or wrong, or it does not have an option.
    """
    name = resolve_engine_name(options.engine)
    parse_engine_arguments(name, key_values(options.engine_arg, "engine_arg"))
    supported = load_engine_class(name).sampling_options
    for option in SAMPLING_OPTIONS:
        if option not in supported and getattr(options, option) != GenerateOptions.model_fields[option].default:
            raise UsageError(f"engine '{name}' does not have it.", option=option)
    parse_sampling_arguments(options)


def engine_maker(options: GenerateOptions, progress: Progress) -> Callable[[EngineOptions], Engine]:
    """The function that opens the engine of `options`, in this process or on a Ray cluster.

    Raises:
        UsageError: as `check_engine`.
    """
    check_engine(options)
    name = resolve_engine_name(options.engine)
    arguments = key_values(options.engine_arg, "engine_arg")
    if options.executor == "local":
        return lambda engine_options: lent_engine(EngineRecipe(name, arguments, engine_options))
    from grao_pipeline.generation.engines.ray import RayActors, RayEngine

    actors = RayActors(options.actors, options.actor_gpus, options.ray_address)
    return lambda engine_options: RayEngine(EngineRecipe(name, arguments, engine_options), actors, progress)
