"""How a round chooses its prompts, and which of them it samples further. See `wiring.py`."""

from grao_pipeline.prompts.options import CurriculumOptions, ResampleOptions
from grao_pipeline.prompts.resample import asks_for_samples
from grao_pipeline.rounds.config.run_plan import Settings
from grao_pipeline.rounds.tasks import Output
from grao_pipeline.rounds.wiring import (
    RoundState,
    Wiring,
    changed,
    combine_scores,
    every_round,
    place,
    sample,
    score_groups,
)
from grao_pipeline.stage import Stage


def curriculum(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Choose prompts by all earlier rounds. Where several rewards are combined, their combination is what counts."""
    settings = state.plan.only(stage.name)
    if settings is None or not state.earlier:
        return
    assert isinstance(settings.options, CurriculumOptions)
    if settings.options.budget is not None:
        settings = _with_samples(settings, state)
    history = [(earlier.latest["groups"], _rewards(earlier)) for earlier in state.earlier]
    reads = [output for pair in history for output in pair]
    settings = changed(settings, history=[(place(groups), place(rewards)) for groups, rewards in history])
    state.choice = state.latest["prompts"]
    state.latest["prompts"] = wiring.tasks.make(f"{state.prefix}{stage.name}", stage, [state.choice], settings, reads)


def minibatch(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Take the round's share of all prompts."""
    state.choice = state.latest["prompts"]
    every_round(wiring, stage, state)


def resample(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Sample further where groups have no learning signal, in passes, until all have one or the attempts are over.

    After every pass a task says what there is, and asks for more; whatever it asks for is sampled by the policy that
    sampled the groups, which get the new samples.
    """
    settings = state.plan.only(stage.name)
    if settings is None:
        return
    options = settings.options
    assert isinstance(options, ResampleOptions)
    settings = _with_samples(settings, state)
    prompts = state.choice if options.replace and state.choice is not None else state.latest["prompts"]
    sampling = changed(state.plan.stages["generate"][0], limit=None, samples_file=None)
    for attempt in range(options.attempts + 1):
        name = f"{state.prefix}{stage.name}-{attempt + 1}"
        if len(state.scores) > 1:
            state.latest["advantages"] = combine_scores(wiring, state, f"{name}-advantages")
        groups = state.latest["groups"]
        asked = wiring.tasks.make(name, stage, [prompts, groups, _rewards(state)], changed(settings, attempt=attempt))
        if attempt == options.attempts or not _asks(wiring, name, asked):
            return
        latest = {**state.latest, "prompts": asked}
        extended = changed(sampling, extend=place(groups))
        state.latest["groups"] = sample(wiring, f"{name}-generate", latest, extended, [groups])
        score_groups(wiring, state, f"{name}-")


def _asks(wiring: Wiring, name: str, asked: Output) -> bool:
    """Whether a pass follows; where that is not known yet, one is assumed."""
    task = wiring.tasks.walk.named[name]
    return not (asked.is_known and task.done and task.out is not None) or asks_for_samples(task.out)


def _rewards(state: RoundState) -> Output:
    """A round's scores, or its advantages where several rewards are combined."""
    return next(iter(state.scores.values())) if len(state.scores) == 1 else state.latest["advantages"]


def _with_samples(settings: Settings, state: RoundState) -> Settings:
    """Settings with the round's number of samples, where they have none themselves."""
    samples = settings.options.resolved()["samples"]
    sampling = state.plan.stages["generate"][0].options
    return settings if samples is not None else changed(settings, samples=sampling.resolved()["samples"])
