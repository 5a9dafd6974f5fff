"""The identity of a merged model; free of torch, so that rounds can be planned without it."""

from collections.abc import Callable, Sequence

from grao_pipeline.errors import UsageError
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.models.source import ModelSource, locate_model
from grao_pipeline.options import StageOptions
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.training.merging.options import MergeOptions


def merge_provenance(options: MergeOptions, sources: Sequence[ModelSource]) -> Provenance:
    """What the model will be, before anything is computed: how the weights came about does not matter.

    Args:
        sources: of the models, in order.
    """
    weighted = zip(sources, options.weights(), strict=True)
    inputs = {"model": [[source.fingerprint, weight] for source, weight in weighted], "tokenizer": sources[0].tokenizer}
    details = sources[0].details(options.models[0].model)
    return Provenance("model", stage_fingerprint("merge", {}, inputs), {}, inputs, details)


def identity(inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]) -> Provenance:
    assert isinstance(options, MergeOptions)
    return merge_provenance(options, [locate_model(model.model, only_identity=True) for model in options.models])


def check(options: StageOptions) -> None:
    """Refuse, before the rounds run, a section that does not say what is merged.

    Raises:
        UsageError: neither rule is given.
    """
    assert isinstance(options, MergeOptions)
    if options.models:
        raise UsageError(
            "the rounds decide which models are merged: the round's, and the one before it.", option="model"
        )
    if options.momentum is None and options.average is None:
        raise UsageError("give momentum or average.", option="momentum")
