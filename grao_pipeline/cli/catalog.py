"""The catalog of methods, docs/methods.md, from the registries and the declarations of the plug-ins."""

from collections.abc import Iterator

from grao_pipeline.cli.system import System
from grao_pipeline.cli.systems import SYSTEMS
from grao_pipeline.plugin_kinds import KINDS, PluginDescription, describe_plugin

TITLES = {
    "rewrite": "Rewrites of prompts",
    "reward": "Rewards",
    "priority": "Priorities of prompts",
    "budget": "Budgets of samples",
    "estimator": "Estimators",
    "combination": "Combinations of rewards",
    "reshape": "Reshapes of the reward",
    "filter": "Filters",
    "token_weight": "Token weights",
    "objective": "Objectives",
}
"""Kinds whose plug-ins are published methods, in the order of the catalog."""
PARTLY = ("reward",)
"""Kinds of which only those that declare one are."""
PLAIN_COMMAND = "grao advantages GROUPS OUT --scores SCORES"
TRAIN_COMMAND = "grao train GROUPS OUT MODEL --model BASE"


def method_descriptions() -> Iterator[PluginDescription]:
    """Every built-in plug-in of these kinds."""
    for kind in KINDS:
        if kind.name in TITLES:
            described = (describe_plugin(kind.name, name) for name in kind.built_in())
            yield from (one for one in described if one.method is not None or kind.name not in PARTLY)


def catalog() -> str:
    """The catalog as Markdown."""
    descriptions = list(method_descriptions())
    lines = [
        "# Methods",
        "",
        "Made by `grao plugins catalog` from the plug-ins themselves: do not edit. One file each, in the rooms",
        "`prompts`, `scoring/rewards`, `advantages` and `training/objectives`; `grao plugins show NAME` prints",
        "arguments. R is the combined",
        "reward, μ and σ mean and deviation of its group, Â its advantage, ℓ the mean log-prob per token,",
        "r_t the ratio of the trained policy to the one that sampled, G the number of samples, y the reference.",
        "",
    ]
    for kind, title in TITLES.items():
        lines += [f"## {title}", ""]
        for description in descriptions:
            if description.kind == kind:
                lines += _entry(description)
    lines += ["## Published systems", "", *_systems()]
    return "\n".join(lines) + "\n"


def _entry(description: PluginDescription) -> list[str]:
    declared = description.method
    assert declared is not None, f"{description.kind} '{description.name}' declares no method"
    lines = [f"### {description.name}", "", description.summary, ""]
    lines += [f"    {line}" for line in declared.formula.split("\n")]
    lines += ["", f"Source: {declared.source}."]
    lines += [f"Needs: {declared.needs}."] if declared.needs else []
    return [*lines, "", f"    {description.example}", ""]


def _systems() -> list[str]:
    """The table of published systems, and those that stored groups cannot express."""
    lines = [
        f"The first options belong to `{PLAIN_COMMAND}`,",
        f"the second to `{TRAIN_COMMAND}`. A and B are the scores of two rewards, FEATURE",
        "those of a reward that knows what the method needs, REF the table of `grao logprobs` (with `--top-k` for",
        "`gkd`), BASE the model that sampled. Without such options, the further command is the method.",
        "",
        "| system | source | advantages | train | further, and what differs |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(system) for system in SYSTEMS if system.is_offered]
    lines += ["", "Not offered, and why:", ""]
    lines += [
        f"- **{system.name}** ({_source(system)}): {system.limits}." for system in SYSTEMS if not system.is_offered
    ]
    return lines


def _row(system: System) -> str:
    cells = [f"`{text}`" if text else "" for text in (system.advantages, system.train)]
    rounds = f"in the rounds: `{system.rounds}`" if system.rounds else ""
    remarks = "; ".join(filter(None, (rounds, system.otherwise, system.limits)))
    return f"| {system.name} | {_source(system)} | {cells[0]} | {cells[1]} | {remarks} |"


def _source(system: System) -> str:
    return f"arXiv {system.source}" if system.source[:1].isdigit() else system.source
