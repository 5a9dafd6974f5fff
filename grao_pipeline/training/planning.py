"""What the rounds need to know of `grao train` before it runs; free of torch."""

from collections.abc import Callable, Sequence

from grao_pipeline.models.source import locate_model
from grao_pipeline.options import StageOptions
from grao_pipeline.plugins import named_source
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.training.logprobs.planning import logprobs_urls
from grao_pipeline.training.objectives import OBJECTIVES
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.provenance import train_provenance


def check(options: StageOptions) -> None:
    """Raises UsageError where there is no such objective, or log-probs have a name that is taken."""
    assert isinstance(options, TrainOptions)
    logprobs_urls(options.logprobs)
    named_source("objective", options.objective, OBJECTIVES)


def identity(inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]) -> Provenance:
    """The identity of the model that this training makes."""
    assert isinstance(options, TrainOptions)
    groups, advantages = (provenance_of(place).fingerprint for place in inputs)
    replay = [
        (provenance_of(groups_place).fingerprint, provenance_of(advantages_place).fingerprint)
        for groups_place, advantages_place in options.replay
    ]
    logprobs = [(name, provenance_of(place).fingerprint) for name, place in logprobs_urls(options.logprobs)]
    source = locate_model(options.model, options.adapter, only_identity=True)
    return train_provenance(options, groups, advantages, source, replay, logprobs)


def devices(options: StageOptions) -> int:
    """GPUs that one rank uses."""
    assert isinstance(options, TrainOptions)
    return 1 if options.device != "cpu" else 0
