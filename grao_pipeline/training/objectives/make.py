"""From the options of a training to its objective, with every check that is possible before a model is loaded."""

import inspect
from typing import Any

from grao_pipeline.arguments import described_arguments, parse_arguments
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.parsing import key_values
from grao_pipeline.plugins import load
from grao_pipeline.schedules import TURN, parse_course
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.logprobs.planning import logprobs_urls
from grao_pipeline.training.objectives import OBJECTIVES
from grao_pipeline.training.objectives.base import Objective
from grao_pipeline.training.objectives.importance_sampling import Correction, make_correction
from grao_pipeline.training.objectives.requirements import check_data
from grao_pipeline.training.options import TrainOptions


def make_objective(options: TrainOptions, data: TrainingSet) -> tuple[Objective, Correction]:
    """The objective and the importance-sampling correction of its token weights.

    Raises:
        UsageError: as `objective_of_options`; or λ does not go together with the advantages.
        InputError: the data lacks what the objective, or the correction, needs.
    """
    objective, correction = objective_of_options(options)
    _refuse_token_advantages(objective, data, options)
    check_data(objective, data, options.objective)
    if correction.needs_behavior and len(data) and not data.which("has_logprobs"):
        raise InputError(
            f"--correction {options.correction}: no sample has completion_logprobs to compare with. Leave it out, or "
            "sample with log-probs."
        )
    unknown = _unknown_sampling(data) if correction.needs_behavior else None
    if unknown is not None:
        raise InputError(
            f"--correction {options.correction} needs the log-probs of the distribution that sampled. Group {unknown} "
            "was sampled at another temperature than 1, from a part of the tokens, or with a penalty, and its table "
            "has only those of the policy at temperature 1. Leave the correction out, or sample with --engine vllm or "
            "transformers, which store both."
        )
    return objective, correction


def objective_of_options(options: TrainOptions) -> tuple[Objective, Correction]:
    """The same from the options alone: what can be refused before there is a model or data.

    Raises:
        UsageError: unknown objective or argument, an option that has no effect on this objective, or a model that it
            compares with and that is not given.
    """
    objective = construct(options)
    correction = make_correction(options)
    _refuse_options_without_effect(objective, correction, options)
    _refuse_unknown_models(objective, options)
    return objective, correction


def construct(options: TrainOptions) -> Objective:
    """The objective with its arguments; with β and λ only where it uses them.

    Raises:
        UsageError: unknown objective, unknown argument, or a wrong value.
    """
    objective_class = load("objective", options.objective, OBJECTIVES)
    if not (isinstance(objective_class, type) and issubclass(objective_class, Objective)):
        raise UsageError(
            f"'{options.objective}' is not a subclass of Objective (grao_pipeline.training.objectives.base). Derive "
            "from it and declare what the objective needs as traits = Traits(…).",
            option="objective",
        )
    given = key_values(options.objective_arg, "objective_arg")
    plugin = f"objective '{options.objective}'"
    parsed = {name: parse_course(text, "objective_arg") for name, text in given.items()}
    courses = {name: course for name, course in parsed.items() if course is not None}
    for share in (TURN, 1.0, 0.0):  # each must be a value that the argument allows; the last one is that of the start
        now = given | {name: course(share) for name, course in courses.items()}
        arguments = parse_arguments(objective_class.Arguments, now, plugin, "objective_arg")
    values: dict[str, Any] = {"arguments": arguments}
    if objective_class.traits.uses_beta_and_lambda:
        values |= {"beta": options.beta, "lambda_": options.lambda_}
    try:
        inspect.signature(objective_class).bind(**values)
    except TypeError as error:
        raise UsageError(
            f"'{options.objective}' cannot be called with {', '.join(values)}: {error}. Leave its __init__ out, or "
            "let it take these parameters.",
            option="objective",
        ) from error
    objective: Objective = objective_class(**values)
    objective.courses = courses
    return objective


def _refuse_options_without_effect(objective: Objective, correction: Correction, options: TrainOptions) -> None:
    name, traits = options.objective, objective.traits
    if not correction.is_off and not traits.takes_corrections:
        option = "correction" if correction.needs_behavior else "negative_floor"
        raise UsageError(
            f"{getattr(options, option)} does not apply to objective '{name}', which has an importance ratio itself "
            "or no use for one. Leave it out, or choose grao, asymre or opmd.",
            option=option,
        )
    if not traits.uses_beta_and_lambda:
        for option in ("beta", "lambda_"):
            value = getattr(options, option)
            if value != TrainOptions.model_fields[option].default:
                arguments = ", ".join(described["name"] for described in described_arguments(type(objective.arguments)))
                raise UsageError(
                    f"{value:g} has no effect on objective '{name}'. Its arguments are given with --objective-arg: "
                    f"{arguments or 'none'}.",
                    option=option,
                )


def _refuse_token_advantages(objective: Objective, data: TrainingSet, options: TrainOptions) -> None:
    """λ weighs the reference by the mean advantage of samples, which says nothing where each token has another one."""
    if not (data.token_advantages and objective.traits.uses_beta_and_lambda and options.lambda_):
        return
    if data.which("has_reference"):
        raise UsageError(
            f"{options.lambda_:g} does not go together with --token-weights {data.token_advantages}, which gives each "
            "token its own advantage: the regularizer weighs a reference by the mean advantage of whole samples. "
            "Give --lambda 0, or advantages without references.",
            option="lambda_",
        )


def _refuse_unknown_models(objective: Objective, options: TrainOptions) -> None:
    given = [name for name, _ in logprobs_urls(options.logprobs)]
    absent = sorted(objective.other_models - set(given))
    if absent:
        raise UsageError(
            f"objective '{options.objective}' compares with '{absent[0]}': give --logprobs {absent[0]}=TABLE (in a "
            f"rounds file a section logprobs with name: {absent[0]}). Given: {', '.join(given) or 'none'}.",
            option="objective_arg",
        )
    unused = sorted(set(given) - objective.other_models)
    if unused and not type(objective).__module__.startswith("grao_pipeline."):
        return  # a custom objective may read inputs.logprobs itself
    if unused:
        raise UsageError(f"objective '{options.objective}' does not compare with '{unused[0]}'.", option="logprobs")


def _unknown_sampling(data: TrainingSet) -> str | None:
    """The first group with a sample from a distribution whose log-probs are not stored."""
    groups = (data[index] for index in data.which("may_lack_sampling_logprobs"))
    return next(
        (group.group_id for group in groups if any(sequence.sampling_is_unknown for sequence in group.sequences)), None
    )
