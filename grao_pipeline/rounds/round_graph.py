"""The rounds of one variant: every stage, round by round, each fed by what came before."""

from grao_pipeline.pipeline import stages
from grao_pipeline.rounds.config.run_plan import RunPlan, VariantPlan
from grao_pipeline.rounds.tasks import Output, Tasks
from grao_pipeline.rounds.wiring import RoundState, Wiring, evaluate_model
from grao_pipeline.stage import load_object


def follow(plan: RunPlan, variant: VariantPlan, tasks: Tasks, prompts: Output, held_out: Output | None) -> None:
    """Evaluate the base model, run every round, and evaluate its model.

    Args:
        prompts: all training prompts.
        held_out: prompts to evaluate on.
    """
    prefix = f"{variant.name}/" if variant.name else ""
    wiring = Wiring(plan, variant, tasks, held_out, prefix)
    model = base_model(plan, tasks)
    evaluate_model(wiring, f"{prefix}base", variant.rounds[0], model)
    states: list[RoundState] = []
    for round_plan in variant.rounds:
        number = round_plan.number
        state = RoundState(
            round_plan,
            f"{prefix}round-{number}/",
            {"prompts": prompts, "model": model},
            window=states[number - min(number, plan.reuse_rounds - 1) :],
            earlier=list(states),
        )
        for stage in stages():
            if stage.loop is not None:
                load_object(stage.loop)(wiring, stage, state)
        model = state.latest["model"]
        states.append(state)


def base_model(plan: RunPlan, tasks: Tasks) -> Output:
    """The model that the first round starts from, known by its place."""
    from grao_pipeline.storage.manifest import Provenance

    return tasks.known(plan.model, Provenance("model", plan.model, {}, {}))
