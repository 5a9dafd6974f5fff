"""From the options of a training to its objective, with all that can be refused before a model is loaded."""

import inspect
from typing import Any

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.parsing import key_values
from grao_pipeline.plugins import load
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.objectives import OBJECTIVES
from grao_pipeline.training.objectives.base import Objective
from grao_pipeline.training.objectives.importance_sampling import Correction, make_correction
from grao_pipeline.training.objectives.requirements import check_data
from grao_pipeline.training.options import TrainOptions


def make_objective(options: TrainOptions, data: TrainingSet) -> tuple[Objective, Correction]:
    """The objective, and the care for off-policy samples that it is given.

    Raises:
        UsageError: there is no such objective or argument, or options that mean nothing to it.
        InputError: the data lacks what it, or the correction, needs.
    """
    objective = _construct(options)
    correction = make_correction(options)
    _refuse_meaningless(objective, correction, options)
    check_data(objective, data, options.objective)
    if correction.needs_behavior and len(data) and not _has_behavior(data):
        raise InputError(
            f"--correction {options.correction}: no sample has completion_logprobs to compare with. Leave it out, or "
            "sample with log-probs."
        )
    return objective, correction


def _construct(options: TrainOptions) -> Objective:
    found = load("objective", options.objective, OBJECTIVES)
    values: dict[str, Any] = {"beta": options.beta, "lambda_": options.lambda_}
    if options.objective_arg:
        values["arguments"] = key_values(options.objective_arg, "objective_arg")
    try:
        inspect.signature(found).bind(**values)
    except TypeError as error:
        raise UsageError(
            f"--objective {options.objective} cannot be constructed with {', '.join(values)} ({error}). "
            "Only an objective that takes `arguments` has an --objective-arg."
        ) from None
    objective: Objective = found(**values)
    return objective


def _refuse_meaningless(objective: Objective, correction: Correction, options: TrainOptions) -> None:
    if not correction.is_off and not getattr(objective, "takes_corrections", False):
        flag = f"--correction {options.correction}" if correction.needs_behavior else "--negative-floor"
        raise UsageError(
            f"{flag}: objective '{options.objective}' has an importance ratio of its own, or no use for one. "
            "Leave it out, or choose grao, asymre or opmd."
        )
    if not getattr(objective, "uses_beta_and_lambda", True):
        for flag, field in (("--beta", "beta"), ("--lambda", "lambda_")):
            value = getattr(options, field)
            if value != TrainOptions.model_fields[field].default:
                raise UsageError(
                    f"{flag} {value:g}: objective '{options.objective}' has no such weight. "
                    "What it has is set with --objective-arg."
                )


def _has_behavior(data: TrainingSet) -> bool:
    return any(
        sequence.behavior_logprobs is not None for index in range(len(data)) for sequence in data[index].sequences
    )
