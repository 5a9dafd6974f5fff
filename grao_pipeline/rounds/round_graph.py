"""The rounds of one variant: every stage, round by round, each fed by what came before."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from grao_pipeline.evaluation.record import read_evaluation
from grao_pipeline.pipeline import stages
from grao_pipeline.rounds.config.run_plan import RoundPlan, RunPlan, VariantPlan
from grao_pipeline.rounds.config.until import Until, reason_to_stop
from grao_pipeline.rounds.measured import with_measurements
from grao_pipeline.rounds.tasks import Output, Task, Tasks, Walk
from grao_pipeline.rounds.wiring import RoundState, Wiring, evaluate_model
from grao_pipeline.stage import Stage, load_object

Policy = Mapping[str, Output]
"""The model, and the adapter on top of it where there is one."""


@dataclass(frozen=True)
class Roots:
    """What the rounds of every variant start from.

    Attributes:
        prompts: all training prompts.
        held_out: prompts to evaluate on.
        model: the base model.
    """

    prompts: Output
    held_out: Output | None
    model: Output


def follow(
    plan: RunPlan, variant: VariantPlan, tasks: Tasks, roots: Roots, after_round: Callable[[Walk], None]
) -> None:
    """Evaluate the base model, run every round, and evaluate its model; until the rounds stop.

    With `overlap`, round k + 1 samples from the model that round k starts from, in the background while round k trains.
    """
    prefix = f"{variant.name}/" if variant.name else ""
    wiring = Wiring(plan, variant, tasks, roots.held_out, prefix, roots.model)
    sampling, training = _phases()
    policy: Policy = {"model": roots.model}
    evaluate_model(wiring, f"{prefix}base", dict(policy))
    states: list[RoundState] = []
    evaluations: list[Task] = []

    def measured(round_plan: RoundPlan) -> RoundPlan:
        trained = [state for state in states if state.trained is not None]
        return with_measurements(round_plan, trained, tasks.walk.evaluations)

    def sample(round_plan: RoundPlan, sampler: Policy, in_background: bool = False) -> None:
        number = round_plan.number
        state = RoundState(
            measured(round_plan),
            f"{prefix}round-{number}/",
            {**sampler, "prompts": roots.prompts},
            window=states[number - min(number, plan.reuse_rounds - 1) :],
            earlier=list(states),
            is_behind=in_background,
        )
        with tasks.in_background() if in_background else nullcontext():
            _run(sampling, wiring, state)
        states.append(state)

    sample(variant.rounds[0], policy)
    for round_plan, next_plan in zip(variant.rounds, [*variant.rounds[1:], None], strict=True):
        state = states[round_plan.number]
        if plan.overlap and next_plan is not None:
            sample(next_plan, policy, in_background=True)
        state.plan = measured(round_plan)
        state.set_policy(policy)
        _run(training, wiring, state)
        policy = state.policy
        after_round(tasks.walk)
        if plan.until is not None:
            evaluations.append(tasks.walk.evaluations[f"{prefix}round-{round_plan.number}"])
            reason = _reason(evaluations, plan.until)
            if reason is not None:
                tasks.walk.stops[variant.name] = f"stopped after round {round_plan.number}: {reason}"
                return
        if not plan.overlap and next_plan is not None:
            sample(next_plan, policy)


def _phases() -> tuple[list[Stage], list[Stage]]:
    """The stages of a round before the model is trained, and from then on."""
    in_loop = [stage for stage in stages() if stage.loop is not None]
    first = next(number for number, stage in enumerate(in_loop) if stage.output == "model")
    return in_loop[:first], in_loop[first:]


def _run(phase: Sequence[Stage], wiring: Wiring, state: RoundState) -> None:
    for stage in phase:
        load_object(str(stage.loop))(wiring, stage, state)


def _reason(evaluations: list[Task], until: Until) -> str | None:
    """Why the rounds stop after these evaluations; None where they continue, or one is not made yet."""
    values: list[float | None] = []
    for task in evaluations:
        evaluation = read_evaluation(str(task.out)) if task.done else None
        if evaluation is None:
            return None
        metric = evaluation.metrics.get(until.metric)
        values.append(None if metric is None else float(metric["value"]))
    return reason_to_stop(values, until)
