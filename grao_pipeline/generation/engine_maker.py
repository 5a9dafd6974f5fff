"""The options of `grao generate` → the function that opens its engine, in this process or on a Ray cluster."""

from collections.abc import Callable

from grao_pipeline.generation.engines.base import Engine, EngineOptions
from grao_pipeline.generation.engines.make import EngineRecipe, parse_engine_arguments, resolve_engine_name
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.parsing import key_values
from grao_pipeline.progress import Progress


def engine_maker(options: GenerateOptions, progress: Progress) -> Callable[[EngineOptions], Engine]:
    """The function that opens the engine of `options`, in this process or on a Ray cluster.

    Raises:
        UsageError: there is no such engine, or an argument is unknown, reserved or wrong.
    """
    name = resolve_engine_name(options.engine)
    arguments = key_values(options.engine_arg, "engine_arg")
    parse_engine_arguments(name, arguments)
    if options.executor == "local":
        return lambda engine_options: EngineRecipe(name, arguments, engine_options).open()
    from grao_pipeline.generation.engines.ray import RayActors, RayEngine

    actors = RayActors(options.actors, options.actor_gpus, options.ray_address)
    return lambda engine_options: RayEngine(EngineRecipe(name, arguments, engine_options), actors, progress)
