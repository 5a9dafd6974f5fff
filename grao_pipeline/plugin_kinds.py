"""The kinds of plug-ins, and what each of them says of itself to people."""

import inspect
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_origin

from grao_pipeline.arguments import DescribedArgument, arguments_of, described_arguments
from grao_pipeline.methods import Method, method_of
from grao_pipeline.options import StageOptions, extra_of
from grao_pipeline.own_code import own_code
from grao_pipeline.plugin_modules import attribute_of
from grao_pipeline.plugins import entry_point_group, load, refuse_unknown
from grao_pipeline.published import published


@dataclass(frozen=True)
class PluginKind:
    """A kind of plug-in: where its registry is, and the options that name one and give its arguments."""

    name: str
    registry: str
    """`module:attribute` of the dictionary of built-in ones."""
    command: str
    """A command line that uses one, up to its name."""
    argument_option: str = ""
    supplied: tuple[str, ...] = ()
    """Parameters of a plain function that are not arguments: the pipeline supplies them."""
    is_repeated: bool = False
    """Several may be named, so that an argument is given as NAME.key=value."""

    def built_in(self) -> Mapping[str, str]:
        """Name → `module:attribute`."""
        registry: Mapping[str, str] = attribute_of(self.name, self.registry)
        return registry

    def names(self) -> list[str]:
        """The built-in ones in their order, then those of installed packages."""
        others = {entry.name for entry in published(entry_point_group(self.name))}
        return [*self.built_in(), *sorted(others - set(self.built_in()))]


KINDS = (
    PluginKind("format", "grao_pipeline.prompts.formats:FORMATS", "grao prompts SOURCE OUT --format", "", ("row",)),
    PluginKind(
        "rewrite",
        "grao_pipeline.prompts.rewrites:REWRITES",
        "grao prompts SOURCE OUT --rewrite",
        "rewrite_arg",
        ("prompt",),
    ),
    PluginKind(
        "priority",
        "grao_pipeline.prompts.priorities:PRIORITIES",
        "grao curriculum PROMPTS OUT --history GROUPS SCORES --priority",
        "priority_arg",
        ("history", "total", "success_threshold"),
    ),
    PluginKind(
        "budget",
        "grao_pipeline.prompts.budgets:BUDGETS",
        "grao curriculum PROMPTS OUT --history GROUPS SCORES --samples 8 --budget",
        "budget_arg",
        ("history", "total", "success_threshold"),
    ),
    PluginKind(
        "reward",
        "grao_pipeline.scoring.rewards:REWARDS",
        "grao score GROUPS OUT --reward",
        "reward_arg",
        ("completions", "prompts", "references", "metadata"),
    ),
    PluginKind(
        "judge_engine",
        "grao_pipeline.scoring.judges:JUDGE_ENGINES",
        "grao score GROUPS OUT --reward judge-pairwise --reward-arg engine=",
        "reward_arg",
    ),
    PluginKind(
        "estimator",
        "grao_pipeline.advantages.estimators:ESTIMATORS",
        "grao advantages GROUPS OUT --scores SCORES --estimator",
        "estimator_arg",
        ("view", "statistics"),
    ),
    PluginKind(
        "combination",
        "grao_pipeline.advantages.combinations:COMBINATIONS",
        "grao advantages GROUPS OUT --scores A --scores B --combine",
        "combine_arg",
        ("view", "weights", "statistics"),
    ),
    PluginKind(
        "reshape",
        "grao_pipeline.advantages.reshapes:RESHAPES",
        "grao advantages GROUPS OUT --scores SCORES --reshape",
        "reshape_arg",
        ("view", "statistics"),
        is_repeated=True,
    ),
    PluginKind(
        "filter",
        "grao_pipeline.advantages.filters:NAMED_FILTERS",
        "grao advantages GROUPS OUT --scores SCORES --filter",
        "filter_arg",
        ("view", "statistics"),
        is_repeated=True,
    ),
    PluginKind(
        "token_weight",
        "grao_pipeline.advantages.token_weights:TOKEN_WEIGHTS",
        "grao advantages GROUPS OUT --scores SCORES --token-weights",
        "token_weights_arg",
        ("tokens",),
        is_repeated=True,
    ),
    PluginKind(
        "objective",
        "grao_pipeline.training.objectives:OBJECTIVES",
        "grao train GROUPS ADVANTAGES OUT --model MODEL --objective",
        "objective_arg",
    ),
    PluginKind(
        "engine",
        "grao_pipeline.generation.engines:ENGINES",
        "grao generate PROMPTS OUT --model MODEL --engine",
        "engine_arg",
    ),
    PluginKind(
        "attention",
        "grao_pipeline.training.model.attention:ATTENTIONS",
        "grao train GROUPS ADVANTAGES OUT --model MODEL --attention",
    ),
    PluginKind("tracker", "grao_pipeline.tracking.trackers:TRACKERS", "grao log RUN --to"),
    PluginKind("export", "grao_pipeline.exporting.formats:EXPORTS", "grao export GROUPS OUT --format"),
)


def kind_named(name: str) -> PluginKind:
    """The kind of this name, e.g. `reward`."""
    return next(kind for kind in KINDS if kind.name == name)


def refuse_unknown_plugins(options: StageOptions) -> None:
    """Check the names of plug-ins that the options give, before a stage imports what takes seconds.

    Raises:
        UsageError: one is unknown.
    """
    for option, field in type(options).model_fields.items():
        kind, given = extra_of(field).get("plugin"), getattr(options, option)
        has_choices = get_origin(field.annotation) is Literal  # which are checked, and may be more than plug-ins
        if kind and given != field.default and not has_choices:
            for name in given if isinstance(given, list) else [given]:
                refuse_unknown(str(kind), name, kind_named(str(kind)).built_in(), option)


@dataclass(frozen=True)
class PluginDescription:
    """A plug-in for people.

    Attributes:
        summary: the first sentence of its docstring.
        arguments: as `described_arguments` gives them.
        example: a command line that uses it.
        method: the published method that it is, where it declares one.
    """

    kind: str
    name: str
    summary: str
    arguments: list[DescribedArgument]
    argument_option: str
    example: str
    method: Method | None = None


def describe_plugin(kind: str, name: str) -> PluginDescription:
    """What a plug-in is, which arguments it has, and how it is used.

    Raises:
        UsageError: there is no such plug-in.
        MissingDependency: it needs a package that is not installed.
    """
    of_kind = kind_named(kind)
    plugin = load(kind, name, of_kind.built_in())
    with own_code(f"{kind.capitalize()} '{name}'", plugin, option=kind):
        model = arguments_of(plugin, of_kind.supplied)
        arguments = described_arguments(model)
    flag = f"--{of_kind.argument_option.replace('_', '-')}"
    separator = "" if of_kind.command.endswith("=") else " "
    if of_kind.is_repeated:
        arguments = [{**argument, "name": f"{name}.{argument['name']}"} for argument in arguments]
    words = [f"{of_kind.command}{separator}{name}"]
    for argument, field in zip(arguments, model.model_fields.values(), strict=False):  # without the alternatives
        if field.is_required():
            words += [flag, shlex.quote(f"{argument['name']}={argument['example']}")]
    declared = method_of(plugin)
    words += [declared.options] if declared is not None and declared.options else []
    example = " ".join(words)
    return PluginDescription(kind, name, _summary(plugin), arguments, of_kind.argument_option, example, declared)


def _summary(plugin: object) -> str:
    """The `summary` of a plug-in that has one, or the first paragraph of its docstring, on one line."""
    documentation = getattr(plugin, "summary", "") or inspect.getdoc(plugin) or ""
    return " ".join(documentation.split("\n\n")[0].split())
