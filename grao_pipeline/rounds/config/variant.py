"""One variant of a rounds file, compiled: the options of every stage in every round."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.options import option_names
from grao_pipeline.parsing import finite_number, shown
from grao_pipeline.pipeline import stage_named
from grao_pipeline.rounds.config.run_plan import MODEL, RoundPlan, Settings, VariantPlan
from grao_pipeline.rounds.config.schedules import WEIGHT, at_bound, fields_of, measured_in, section_in_round
from grao_pipeline.rounds.config.sections import parse_section, refuse_unknown, source_of
from grao_pipeline.rounds.config.variables import in_round
from grao_pipeline.rounds.config.yaml_lines import Node
from grao_pipeline.stage import Stage

PLAIN_NAME = re.compile(r"\w[\w +=,.-]{0,49}")
Overrides = dict[int, dict[str, dict[Any, Node]]]
"""Round → section → option."""


def compile_variant(name: str, root: Node, rounds: int, loop_stages: Sequence[Stage]) -> VariantPlan:
    """The options of every stage in every round.

    Args:
        name: of the variant.
        root: the whole file, with the variant's choices in it.

    Raises:
        UsageError: an option is unknown, wrong or missing in some round; the message has its line.
    """
    overrides = _overrides(root, rounds, loop_stages)
    for stage in loop_stages:
        for entry in _entries(root, stage) if _runs(root, stage) else ():
            _refuse_decided(stage, entry)
    plans = [
        RoundPlan(number, _stages_of_round(root, number, rounds, loop_stages, overrides)) for number in range(rounds)
    ]
    return VariantPlan(name, plans, _sampling(root, rounds))


def _stages_of_round(
    root: Node, number: int, rounds: int, loop_stages: Sequence[Stage], overrides: Overrides
) -> dict[str, list[Settings]]:
    decided: dict[str, Any] = {"model": MODEL, "round": number, "base": root.value["model"].value}
    settings: dict[str, list[Settings]] = {}
    for stage in loop_stages:
        if not _runs(root, stage):
            continue
        settings[stage.name] = []
        for entry in _entries(root, stage):
            section = entry.without("generate") if stage.name == "evaluate" else entry
            section = section.updated(overrides.get(number, {}).get(stage.name, {}))
            section = in_round(section, number if stage.knows_round else None, MODEL if stage.repeated else None)
            settings[stage.name].append(_settings_in_round(stage, section, decided, number, rounds))
        if stage.repeated:
            decided[stage.output] = _weights_by_label(stage, settings[stage.name])
    return settings


def _settings_in_round(
    stage: Stage, section: Node, decided: Mapping[str, object], number: int, rounds: int
) -> Settings:
    if not stage.knows_round:
        return stage_settings(stage, section, decided)
    fields = fields_of(stage.options_model, stage.is_weighted)

    def settings(section: Node) -> Settings:
        return stage_settings(stage, section_in_round(section, fields, stage.name, number, rounds), decided)

    measured = measured_in(section, fields, stage.name)
    if measured:  # what they may become must be possible, too
        settings(at_bound(section, fields, stage.name, "low"))
        settings(at_bound(section, fields, stage.name, "high"))
    return replace(settings(section), measured=measured)


def stage_settings(stage: Stage, section: Node, decided: Mapping[str, object], name: str = "") -> Settings:
    """The settings that a section gives, checked as far as that can be done before anything runs.

    Args:
        decided: what the loop says, as far as the stage's options have it.
        name: of the section; by default that of the stage.

    Raises:
        UsageError: with the option's line.
    """
    known = [*option_names(stage.options_model), *([WEIGHT] if stage.is_weighted else [])]
    refuse_unknown(section, [*known, *(["name"] if stage.is_named else [])], name or stage.name)
    weight = 1.0
    if stage.is_weighted and WEIGHT in section.value:
        weight = _weight(section.value[WEIGHT], stage.name)
        section = section.without(WEIGHT)
    label = ""
    if stage.is_named:
        label = str(section.value.get("name", Node("", section.where)).value)
        section = section.without("name")
    given = {name: value for name, value in decided.items() if name in stage.decided_by_loop}
    options = parse_section(stage.options_model, section, name or stage.name, **given)
    label = stage.label_of(options) if stage.label is not None else label
    settings = Settings(options, source_of(section, name or stage.name), weight, label)
    if stage.check is not None:
        # Where the policy is named, the first one stands for those that are not trained yet.
        checked = settings.with_policy(str(decided["base"])) if settings.names_policy and stage.repeated else settings
        checked.check(stage.check)
    return settings


def _weights_by_label(stage: Stage, entries: Sequence[Settings]) -> list[str]:
    """`LABEL=WEIGHT` of every entry of a repeated stage, e.g. `gsm8k=1.0`.

    Raises:
        UsageError: two have one label, or one cannot be the name of a task's directory.
    """
    weights: dict[str, float] = {}
    for entry in entries:
        label = entry.label
        if not PLAIN_NAME.fullmatch(label):
            message = f"{label!r} cannot name a directory: use at most 50 letters, digits, spaces and _-+=,. in it."
            raise UsageError(entry.source.render(message, "name"))
        if label in weights:
            message = f"two entries are named '{label}'. Give one of them another name."
            raise UsageError(entry.source.render(message))
        weights[label] = entry.weight
    return [f"{label}={weight}" for label, weight in weights.items()]


def _sampling(root: Node, rounds: int) -> Settings:
    """How every model samples for evaluation: as `generate` says in round 0 without overrides, with what
    `evaluate: generate:` says on top."""
    stage = stage_named("generate")
    changes = _section(root, "evaluate").entries("evaluate: expected options").get("generate")
    fields = fields_of(stage.options_model)
    section = section_in_round(in_round(_section(root, "generate"), 0), fields, "generate", 0, rounds)
    if changes is not None:
        changes = in_round(changes, None)
        changes.entries("evaluate.generate: expected options of generate")
        _refuse_decided(stage, changes)
        section = section.updated(changes.value or {})
    return stage_settings(stage, section, {"model": MODEL}, "evaluate.generate")


def _overrides(root: Node, rounds: int, loop_stages: Sequence[Stage]) -> Overrides:
    changeable = {stage.name: stage for stage in loop_stages if stage.per_round}
    entries = _section(root, "overrides").entries(
        "overrides: expected rounds with options, e.g. {2: {train: {epochs: 2}}}"
    )
    overrides: Overrides = {}
    for number, node in entries.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < rounds:
            raise node.error(f"overrides: there is no round {number!r}; the rounds are 0 to {rounds - 1}.")
        overrides[number] = {}
        for name, section in node.entries("overrides: expected sections with options").items():
            if name not in changeable:
                raise section.error(
                    f"overrides: {name} cannot change between rounds. What can: {', '.join(changeable)}."
                )
            if not _runs(root, changeable[name]):
                raise section.error(f"overrides: there is no section '{name}' to change.")
            _refuse_decided(changeable[name], section)
            overrides[number][name] = section.entries(f"{name}: expected options")
    return overrides


def _runs(root: Node, stage: Stage) -> bool:
    """Whether the rounds run a stage: the core of the loop always, others where they have a section."""
    return stage.name in root.value or stage.always


def _entries(root: Node, stage: Stage) -> list[Node]:
    """The sections of a stage: one, or those of a list."""
    section = _section(root, stage.name)
    if not stage.repeated:
        section.entries(f"{stage.name}: expected options")
        return [section]
    if stage.name not in root.value:
        raise root.error(f"{stage.name} is required: a list, e.g. [{{reward: gsm8k}}].")
    entries = [section] if isinstance(section.value, dict) else section.value
    if not isinstance(entries, list) or not entries:
        raise section.error(f"{stage.name}: expected a list, e.g. [{{reward: gsm8k}}], found {shown(section.plain())}.")
    for entry in entries:
        entry.entries(f"{stage.name}: expected options")
    return entries


def _section(root: Node, name: str) -> Node:
    section: Node = root.value.get(name, Node({}, root.where))
    return Node({}, section.where) if section.value is None else section


def _refuse_decided(stage: Stage, section: Node) -> None:
    known = option_names(stage.options_model)
    for key, node in section.entries(f"{stage.name}: expected options").items():
        if key in stage.decided_by_loop and key in known:
            raise node.error(f"{stage.name}.{key} is decided by the loop; remove it.")


def _weight(node: Node, name: str) -> float:
    value = None if isinstance(node.value, bool) else finite_number(node.value)
    if value is None:
        raise node.error(f"{name}.weight: expected a number, found {shown(node.plain())}.")
    return value
