"""What the rounds need to know of `grao train` before it runs; free of torch."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from grao_pipeline.errors import MissingDependency
from grao_pipeline.models.source import locate_model
from grao_pipeline.options import StageOptions
from grao_pipeline.plugins import named_source
from grao_pipeline.stage import load_object
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.tracking.follow import check_trackers
from grao_pipeline.training.logprobs.planning import logprobs_urls
from grao_pipeline.training.objectives import OBJECTIVES
from grao_pipeline.training.objectives.correction_bounds import correction_bounds
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.provenance import train_provenance


def check(options: StageOptions) -> None:
    """Raises UsageError where there is no such objective, log-probs have a name that is taken, or a bound of the
    correction is missing or has no effect."""
    assert isinstance(options, TrainOptions)
    logprobs_urls(options.logprobs)
    named_source("objective", options.objective, OBJECTIVES)
    correction_bounds(options)


def check_plugins(options: StageOptions) -> None:
    """Refuse trackers and arguments that do not exist, and options without effect on the objective.

    Imports torch only where the objective can refuse something: the default one takes all options but these two.

    Raises:
        UsageError: names the option.
        MissingDependency: the package of a tracker is not installed.
    """
    assert isinstance(options, TrainOptions)
    check_trackers(options.log_to, "log_to")
    is_default = options.objective == TrainOptions.model_fields["objective"].default
    if is_default and not options.objective_arg and not options.logprobs:
        return
    with suppress(MissingDependency):  # torch may be where the stages run, and not where the rounds are planned
        load_object("grao_pipeline.training.objectives.make:objective_of_options")(options)


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
