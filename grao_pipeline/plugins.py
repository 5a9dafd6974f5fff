"""Names → objects: built-in registries, `module:attribute`, entry points; and optional packages.

A registry maps a name to `"module:attribute"`, so that naming a variant imports nothing and using it imports only its
own file. Third parties give `module:attribute`, or publish an entry point in group `grao_pipeline.<kind>s`.
"""

import importlib
import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from grao_pipeline.errors import MissingDependency, UsageError
from grao_pipeline.fingerprints import DIGITS, file_checksum

EXTRAS = {
    "torch": "train",
    "transformers": "train",
    "vllm": "vllm",
    "datasets": "prompts",
    "jsonschema": "score",
    "math_verify": "score",
    "openai": "generate",
    "peft": "train",
    "ray": "ray",
}


def load(kind: str, name: str, registry: Mapping[str, str]) -> Any:
    """The object that `name` stands for: a built-in, an entry point, or `module:attribute`.

    Args:
        kind: what is looked for, in the singular, e.g. `reward`; names the entry-point group and the errors.

    Raises:
        UsageError: nothing bears that name; the message lists what does.
    """
    if name in registry:
        return _attribute(kind, registry[name])
    for entry in entry_points(group=f"grao_pipeline.{kind}s"):
        if entry.name == name:
            return entry.load()
    if ":" in name:
        return _attribute(kind, name)
    raise UsageError(
        f"Unknown {kind} '{name}'. Built in: {', '.join(sorted(registry))}. "
        f"Your own: 'module:attribute', importable from the current directory."
    )


def source_of(kind: str, found: Any) -> dict[str, str]:
    """`{kind_source: hash}` of the file that defines somebody's own function or class, for a stage's fingerprint:
    edited code is other work. Empty for what is ours, whose meaning the package's version fixes.
    """
    found = inspect.unwrap(found)
    if getattr(found, "__module__", "").startswith("grao_pipeline."):
        return {}
    try:
        path = inspect.getsourcefile(found)
    except TypeError:
        path = None
    return {f"{kind}_source": file_checksum(Path(path))[:DIGITS]} if path else {}


def named_source(kind: str, name: str, registry: Mapping[str, str]) -> dict[str, str]:
    """`source_of` what a name stands for; imports nothing that is built in."""
    return {} if name in registry else source_of(kind, load(kind, name, registry))


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
        package = module.split(".")[0]
        extra = EXTRAS.get(package)
        command = f"pip install 'grao-pipeline[{extra}]'" if extra else f"pip install {package}"
        raise MissingDependency(
            f"This needs the package '{package}', which is not installed. Run: {command}"
        ) from error


def _attribute(kind: str, target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    if not module_name or module_name.startswith("."):
        raise UsageError(f"{kind} '{target}': '{module_name}' is not a module's full name. Write module:attribute.")
    current_directory = str(Path.cwd())
    if current_directory not in sys.path:
        sys.path.insert(0, current_directory)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"{kind} '{target}': no module named '{error.name}'. It must be installed or importable "
                f"from the current directory ({current_directory})."
            ) from error
        raise
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise UsageError(f"{kind} '{target}': module '{module_name}' has no attribute '{attribute}'.") from error
