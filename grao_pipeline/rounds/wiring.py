"""How a round feeds its stages: for each, which outputs it reads, which options the loop sets, and what it hands on.

The record of a stage names its function here (`Stage.loop`); a stage without needs of that kind uses `every_round`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.pipeline import stage_named
from grao_pipeline.rounds.config.run_plan import RoundPlan, RunPlan, Settings, VariantPlan
from grao_pipeline.rounds.tasks import Output, Tasks
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
        is_behind: whether other weights sampled the groups than those that the round trains (`overlap`).
        start: the model that the round trains further.
        trained: the model that it trained, before it is merged with another one.
    """

    plan: RoundPlan
    prefix: str
    latest: dict[str, Output]
    window: "Sequence[RoundState]" = ()
    earlier: "Sequence[RoundState]" = ()
    scores: dict[str, Output] = field(default_factory=dict)
    is_behind: bool = False
    start: Output | None = None
    trained: Output | None = None

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
    base: dict[str, Output] = field(default_factory=dict)
    """The base model's groups and scores on the held-out prompts."""


def changed(settings: Settings, **options: object) -> Settings:
    """Settings with options that the loop sets."""
    return replace(settings, options=settings.options.model_copy(update=options))


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


def curriculum(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Choose prompts by all earlier rounds. Where several rewards are combined, their combination is what counts."""
    settings = state.plan.only(stage.name)
    if settings is None or not state.earlier:
        return
    history = [
        (
            earlier.latest["groups"],
            next(iter(earlier.scores.values())) if len(earlier.scores) == 1 else earlier.latest["advantages"],
        )
        for earlier in state.earlier
    ]
    reads = [output for pair in history for output in pair]
    settings = changed(settings, history=[(_place(groups), _place(scores)) for groups, scores in history])
    state.latest["prompts"] = wiring.tasks.make(
        f"{state.prefix}{stage.name}", stage, [state.latest["prompts"]], settings, reads
    )


def generate(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Sample the round's model."""
    settings = state.plan.stages[stage.name][0]
    state.latest["groups"] = _sample(wiring, state.prefix + stage.name, state.latest, settings)


def score(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """One scores table per reward."""
    for settings in state.plan.stages[stage.name]:
        label = stage.label_of(settings.options)
        name = f"{state.prefix}{stage.name}-{label}"
        state.scores[label] = wiring.tasks.make(name, stage, [state.latest["groups"]], settings)


def advantages(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Combine the round's scores; with `pool`, over the samples of the window too."""
    settings = state.plan.stages[stage.name][0]
    weights = [entry.weight for entry in state.plan.stages["score"]]
    scores = [{"url": _place(table), "weight": weight} for table, weight in _pairs(state.scores, weights)]
    pooled = [(past.latest["groups"], table) for past in _pooled(wiring, state) for table in past.scores.values()]
    pool = [(_place(groups), _place(table)) for groups, table in pooled]
    options = type(settings.options).model_validate({**settings.options.given(), "scores": scores, "pool": pool})
    state.latest["advantages"] = wiring.tasks.make(
        f"{state.prefix}{stage.name}",
        stage,
        [state.latest["groups"]],
        replace(settings, options=options),
        [*state.scores.values(), *(output for pair in pooled for output in pair)],
        weights,
    )


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
        options["replay"] = [(_place(g), _place(a)) for g, a in replayed]
    trained = wiring.tasks.make(
        f"{state.prefix}{stage.name}",
        stage,
        [state.latest["groups"], state.latest["advantages"]],
        changed(settings, **options),
        [*(output for pair in replayed for output in pair), *_policy(state.latest)],
    )
    if settings.options.save_adapter:
        state.latest["adapter"] = trained
    else:
        state.latest["model"] = state.trained = trained
        state.latest.pop("adapter", None)


def evaluate(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Sample, score and measure the round's model on the held-out prompts, by the first reward."""
    evaluate_model(wiring, f"{wiring.prefix}round-{state.plan.number}", state.plan, state.latest)


def evaluate_model(wiring: Wiring, name: str, plan: RoundPlan, latest: dict[str, Output]) -> None:
    """Evaluate a model; the first one is the base that later ones are compared with.

    Args:
        latest: as of a round's state; its model, and its adapter where there is one.
    """
    if wiring.held_out is None:
        return
    stage = stage_named("evaluate")
    latest = {**latest, "prompts": wiring.held_out}
    groups = _sample(wiring, f"{name}/evaluate-generate", latest, wiring.variant.sampling)
    reward = plan.stages["score"][0]
    scores = wiring.tasks.make(f"{name}/evaluate-score", stage_named("score"), [groups], reward)
    settings = plan.stages[stage.name][0]
    if wiring.base:
        places = {f"base_{kind}": _place(output) for kind, output in wiring.base.items()}
        settings = changed(settings, **places)
    wiring.tasks.make(f"{name}/evaluate", stage, [groups, scores], settings, list(wiring.base.values()))
    wiring.tasks.walk.evaluations[name] = wiring.tasks.walk.named[f"{name}/evaluate"]
    if not wiring.base:
        wiring.base.update({"groups": groups, "scores": scores})


def _sample(wiring: Wiring, name: str, latest: dict[str, Output], settings: Settings) -> Output:
    settings = changed(settings, **_policy_options(latest))
    return wiring.tasks.make(name, stage_named("generate"), [latest["prompts"]], settings, _policy(latest))


def _policy(latest: dict[str, Output]) -> list[Output]:
    """The model, and the adapter on top of it where there is one."""
    return [latest[name] for name in POLICY if name in latest]


def _policy_options(latest: dict[str, Output]) -> dict[str, str]:
    """The options of a stage that name them."""
    return {name: latest[name].place or NOT_TRAINED for name in POLICY if name in latest}


def _pooled(wiring: Wiring, state: RoundState) -> "Sequence[RoundState]":
    return state.window if wiring.plan.pool else ()


def _pairs(scores: dict[str, Output], weights: list[float]) -> list[tuple[Output, float]]:
    return list(zip(scores.values(), weights, strict=True))


def _place(output: Output) -> str:
    return output.place or f"(not made yet: {output.key})"
