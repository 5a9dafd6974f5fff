"""What the rounds need to know of `grao generate` before it runs."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from grao_pipeline.errors import MissingDependency
from grao_pipeline.generation.engine_maker import check_engine
from grao_pipeline.generation.engines import ENGINES
from grao_pipeline.generation.engines.base import SAMPLING_OPTIONS
from grao_pipeline.generation.engines.make import load_engine_class, resolve_engine_name
from grao_pipeline.generation.generate import groups_provenance
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.generation.text_groups import texts_provenance
from grao_pipeline.models.source import locate_model
from grao_pipeline.options import StageOptions
from grao_pipeline.plugins import named_source
from grao_pipeline.storage.manifest import Provenance


def check(options: StageOptions) -> None:
    """Raises UsageError where there is no such engine."""
    assert isinstance(options, GenerateOptions)
    named_source("engine", resolve_engine_name(options.engine), ENGINES)


def check_plugins(options: StageOptions) -> None:
    """Refuse arguments and options that the engine does not have. Nothing is imported for a built-in engine where none
    is given.

    Raises:
        UsageError: names the option.
    """
    assert isinstance(options, GenerateOptions)
    names = ("engine_arg", "sampling_arg", *SAMPLING_OPTIONS)
    is_given = any(getattr(options, name) != GenerateOptions.model_fields[name].default for name in names)
    if is_given or resolve_engine_name(options.engine) not in ENGINES:
        with suppress(MissingDependency, ModuleNotFoundError):  # its package may be where the stages run, and not here
            check_engine(options)


def identity(inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]) -> Provenance:
    """The identity of the groups that these options sample."""
    assert isinstance(options, GenerateOptions)
    if not options.model:
        return texts_provenance(options, provenance_of(inputs[0]).fingerprint)
    model = locate_model(options.model, options.adapter, only_identity=True)
    extended = provenance_of(options.extend).fingerprint if options.extend is not None else None
    return groups_provenance(options, provenance_of(inputs[0]).fingerprint, model, extended=extended)


def devices(options: StageOptions) -> int:
    """GPUs that one process of this sampling uses."""
    assert isinstance(options, GenerateOptions)
    is_here = options.executor == "local" and load_engine_class(resolve_engine_name(options.engine)).uses_device
    return options.tensor_parallel_size if is_here and options.device != "cpu" else 0
