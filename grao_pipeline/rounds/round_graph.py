"""The rounds of one variant: every stage, round by round, each fed by what came before."""

from dataclasses import dataclass

from grao_pipeline.evaluation.evaluate import read_evaluation
from grao_pipeline.pipeline import stages
from grao_pipeline.rounds.config.run_plan import RunPlan, VariantPlan
from grao_pipeline.rounds.config.until import Until, reason_to_stop
from grao_pipeline.rounds.tasks import Output, Task, Tasks
from grao_pipeline.rounds.wiring import POLICY, RoundState, Wiring, evaluate_model
from grao_pipeline.stage import load_object


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


def follow(plan: RunPlan, variant: VariantPlan, tasks: Tasks, roots: Roots) -> None:
    """Evaluate the base model, run every round, and evaluate its model; until the rounds stop."""
    prefix = f"{variant.name}/" if variant.name else ""
    wiring = Wiring(plan, variant, tasks, roots.held_out, prefix)
    policy = {"model": roots.model}
    evaluate_model(wiring, f"{prefix}base", variant.rounds[0], policy)
    states: list[RoundState] = []
    evaluations: list[Task] = []
    for round_plan in variant.rounds:
        number = round_plan.number
        state = RoundState(
            round_plan,
            f"{prefix}round-{number}/",
            {**policy, "prompts": roots.prompts},
            window=states[number - min(number, plan.reuse_rounds - 1) :],
            earlier=list(states),
        )
        for stage in stages():
            if stage.loop is not None:
                load_object(stage.loop)(wiring, stage, state)
        policy = {name: state.latest[name] for name in POLICY if name in state.latest}
        states.append(state)
        if plan.until is not None:
            evaluations.append(tasks.walk.evaluations[f"{prefix}round-{number}"])
            reason = _reason(evaluations, plan.until)
            if reason is not None:
                tasks.walk.stops[variant.name] = f"stopped after round {number}: {reason}"
                return


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
