"""How a round feeds its stages: for each, which outputs it reads, which options the loop sets, and what it hands on.

The record of a stage names its function here (`Stage.loop`); a stage without needs of that kind uses `every_round`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.pipeline import stage_named
from grao_pipeline.rounds.config.run_plan import RoundPlan, RunPlan, Settings, VariantPlan
from grao_pipeline.rounds.tasks import Output, Task, Tasks
from grao_pipeline.stage import Stage
from grao_pipeline.training.options import TrainOptions

NOT_TRAINED = "(not trained yet)"
POLICY = ("model", "adapter")
"""Kinds of outputs that a policy is made of, and the options that name them."""


@dataclass
class RoundState:
    """What the stages of a round hand on to later stages and rounds.

    Attributes:
        latest: by the name of an input (`prompts`, `groups`, `advantages`, `model`); `adapter` is on top of `model`,
            where the rounds train an adapter and keep it as one.
        scores: in the order of the rewards, with their names.
        window: the earlier rounds whose groups this one trains on, too; oldest first.
        earlier: all earlier rounds, oldest first.
        logprobs: of the groups under other models, by their names.
        trained: the round's training; None before it.
        choice: the prompts that the round's own were chosen from; None where it takes all.
        is_behind: whether other weights sampled the groups than those that the round trains (`overlap`).
        start: the model that the round trains further.
        trained_model: before it is merged with another one.
    """

    plan: RoundPlan
    prefix: str
    latest: dict[str, Output]
    window: "Sequence[RoundState]" = ()
    earlier: "Sequence[RoundState]" = ()
    scores: dict[str, Output] = field(default_factory=dict)
    choice: Output | None = None
    logprobs: dict[str, Output] = field(default_factory=dict)
    trained: Task | None = None
    is_behind: bool = False
    start: Output | None = None
    trained_model: Output | None = None

    @property
    def policy(self) -> dict[str, Output]:
        """The latest model, and the adapter on top of it where there is one."""
        return {name: self.latest[name] for name in POLICY if name in self.latest}

    def set_policy(self, policy: "Mapping[str, Output]") -> None:
        """Continue with another one than that which sampled."""
        for name in POLICY:
            self.latest.pop(name, None)
        self.latest.update(policy)
        self.start = policy.get("model")


@dataclass(frozen=True)
class Wiring:
    """What all functions of this file need of the run."""

    plan: RunPlan
    variant: VariantPlan
    tasks: Tasks
    held_out: Output | None
    """Prompts to evaluate on."""
    prefix: str
    """Of the variant's names: `beta=0.25/`, or empty."""
    model: Output
    """The base model."""
    base: dict[str, Output] = field(default_factory=dict)
    """The base model's groups and scores on the held-out prompts."""


def changed(settings: Settings, **options: object) -> Settings:
    """Settings with options that the loop sets."""
    return replace(settings, options=settings.options.model_copy(update=options))


def with_policy(settings: Settings, policy: Mapping[str, Output]) -> tuple[Settings, list[Output]]:
    """Settings with the policy's place for `${policy}`, and what they read for it.

    Raises:
        UsageError: the policy is a model with an adapter.
    """
    if not settings.names_policy:
        return settings, []
    if "adapter" in policy:
        message = "${policy} is a model with an adapter here, which this stage does not take. Leave save_adapter out."
        raise UsageError(settings.source.render(message))
    return settings.with_policy(place(policy["model"])), [policy["model"]]


def every_round(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Run it on the latest outputs of its inputs' names; its output is the latest of its kind."""
    settings = state.plan.only(stage.name)
    if settings is None:
        return
    inputs = [next(iter(state.scores.values())) if name == "scores" else state.latest[name] for name in stage.inputs]
    output = wiring.tasks.make(f"{state.prefix}{stage.name}", stage, inputs, settings)
    if stage.output == "scores":
        state.scores[stage.name] = output
    else:
        state.latest[stage.output] = output


def once(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Nothing: it is run before the rounds (`walk.py`)."""


def generate(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Sample the round's model."""
    state.latest["groups"] = sample(wiring, state.prefix + stage.name, state.latest, state.plan.stages[stage.name][0])


def score(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """One scores table per reward."""
    score_groups(wiring, state, state.prefix)


def score_groups(wiring: Wiring, state: RoundState, prefix: str) -> None:
    """Score the latest groups, in tasks with names of this prefix."""
    stage = stage_named("score")
    for entry in state.plan.stages[stage.name]:
        settings, reads = with_policy(entry, state.policy)
        name = f"{prefix}{stage.name}-{entry.label}"
        state.scores[entry.label] = wiring.tasks.make(name, stage, [state.latest["groups"]], settings, reads)


def advantages(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Combine the round's scores; with `pool`, over the samples of the window too."""
    state.latest["advantages"] = combine_scores(wiring, state, f"{state.prefix}{stage.name}")


def combine_scores(wiring: Wiring, state: RoundState, name: str) -> Output:
    """The advantages of the latest groups and scores, in a task of this name."""
    stage = stage_named("advantages")
    settings = state.plan.stages[stage.name][0]
    weights = [entry.weight for entry in state.plan.stages["score"]]
    scores = [{"url": place(table), "weight": weight} for table, weight in _pairs(state.scores, weights)]
    pooled = [(past.latest["groups"], table) for past in _pooled(wiring, state) for table in past.scores.values()]
    pool = [(place(groups), place(table)) for groups, table in pooled]
    options = type(settings.options).model_validate({**settings.options.given(), "scores": scores, "pool": pool})
    return wiring.tasks.make(
        name,
        stage,
        [state.latest["groups"]],
        replace(settings, options=options),
        [*state.scores.values(), *(output for pair in pooled for output in pair)],
        weights,
    )


def logprobs(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """The log-probs of the round's groups under other models, which its training compares with."""
    for entry in state.plan.stages.get(stage.name, ()):
        settings, reads = with_policy(entry, state.policy)
        name = f"{state.prefix}{stage.name}-{entry.label}"
        state.logprobs[entry.label] = wiring.tasks.make(name, stage, [state.latest["groups"]], settings, reads)


def train(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Train the round's model (or its adapter) further, on the window's groups too, the newest first."""
    settings = state.plan.stages[stage.name][0]
    assert isinstance(settings.options, TrainOptions)
    replayed = [(past.latest["groups"], past.latest["advantages"]) for past in reversed(state.window)]
    options: dict[str, Any] = _policy_options(state.latest)
    if "adapter" in state.latest and not settings.options.lora_rank:
        message = "the round before this one trained an adapter; give the same rank in every round."
        raise UsageError(settings.source.render(message, "lora_rank"))
    if settings.options.carry_optimizer:  # the first round's has nothing to carry
        options |= {"save_optimizer": True, "carry_optimizer": bool(state.earlier)}
    if replayed or state.is_behind:  # other weights sampled them
        options["allow_off_policy"] = True
    if replayed:
        options["replay"] = [(place(g), place(a)) for g, a in replayed]
    compared = [(name, table) for one in (state, *state.window) for name, table in one.logprobs.items()]
    if compared:
        options["logprobs"] = [f"{name}={place(table)}" for name, table in compared]
    name = f"{state.prefix}{stage.name}"
    trained = wiring.tasks.make(
        name,
        stage,
        [state.latest["groups"], state.latest["advantages"]],
        changed(settings, **options),
        [*(output for pair in replayed for output in pair), *(table for _, table in compared), *_policy(state.latest)],
    )
    state.trained = wiring.tasks.walk.named[name]
    if settings.options.save_adapter:
        state.latest["adapter"] = trained
    else:
        state.latest["model"] = state.trained_model = trained
        state.latest.pop("adapter", None)


def evaluate(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Sample, score and measure the round's model on the held-out prompts, by the first reward."""
    evaluate_model(wiring, f"{wiring.prefix}round-{state.plan.number}", state.latest)


def evaluate_model(wiring: Wiring, name: str, latest: dict[str, Output]) -> None:
    """Evaluate a model as every other one, as round 0 says and with the base model for `${policy}`; the first one is
    the base that later ones are compared with.

    Args:
        latest: as of a round's state; its model, and its adapter where there is one.
    """
    if wiring.held_out is None:
        return
    stage = stage_named("evaluate")
    latest = {**latest, "prompts": wiring.held_out}
    groups = sample(wiring, f"{name}/evaluate-generate", latest, wiring.variant.sampling)
    plan = wiring.variant.rounds[0]
    reward, reads = with_policy(plan.stages["score"][0], {"model": wiring.model})
    scores = wiring.tasks.make(f"{name}/evaluate-score", stage_named("score"), [groups], reward, reads)
    settings = plan.stages[stage.name][0]
    if wiring.base:
        places = {f"base_{kind}": place(output) for kind, output in wiring.base.items()}
        settings = changed(settings, **places)
    wiring.tasks.make(f"{name}/evaluate", stage, [groups, scores], settings, list(wiring.base.values()))
    wiring.tasks.walk.evaluations[name] = wiring.tasks.walk.named[f"{name}/evaluate"]
    if not wiring.base:
        wiring.base.update({"groups": groups, "scores": scores})


def sample(
    wiring: Wiring, name: str, latest: Mapping[str, Output], settings: Settings, extended: Sequence[Output] = ()
) -> Output:
    """The groups of the latest prompts and policy, in a task of this name.

    Args:
        extended: the groups that get further samples, if any.
    """
    settings = changed(settings, **_policy_options(latest))
    reads = [*extended, *_policy(latest)]
    return wiring.tasks.make(name, stage_named("generate"), [latest["prompts"]], settings, reads)


def _policy(latest: Mapping[str, Output]) -> list[Output]:
    """The model, and the adapter on top of it where there is one."""
    return [latest[name] for name in POLICY if name in latest]


def _policy_options(latest: Mapping[str, Output]) -> dict[str, str]:
    """The options of a stage that name them."""
    return {name: latest[name].place or NOT_TRAINED for name in POLICY if name in latest}


def _pooled(wiring: Wiring, state: RoundState) -> "Sequence[RoundState]":
    return state.window if wiring.plan.pool else ()


def _pairs(scores: dict[str, Output], weights: list[float]) -> list[tuple[Output, float]]:
    return list(zip(scores.values(), weights, strict=True))


def place(output: Output) -> str:
    """Where an output is, or what stands for it in options that are not used before it is made."""
    return output.place or f"(not made yet: {output.key})"
