"""`module:attribute` and `path/to/file.py:attribute` → objects; and what is wrong where that fails."""

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.options import closest

OURS = (str(Path(__file__).parent), importlib.__file__, "<frozen")
"""Beginnings of the paths of frames that are not the user's."""


def attribute_of(kind: str, target: str) -> Any:
    """The object that `module:attribute` or `path/to/file.py:attribute` names.

    Raises:
        UsageError: it does not exist, or its module cannot be imported.
    """
    path, _, name = target.rpartition(":")
    if path.endswith(".py"):
        return _named(kind, target, _module_of_file(kind, Path(path)), name)
    module_name, _, attribute = target.partition(":")
    if not module_name or module_name.startswith("."):
        raise UsageError(f"'{module_name}' is not a module's full name. Write module:attribute.", option=kind)
    current_directory = str(Path.cwd())
    if current_directory not in sys.path:
        sys.path.insert(0, current_directory)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent is not None and f"{module_name}.".startswith(f"{absent}."):
            raise UsageError(
                f"'{target}': no module named '{absent}'. It must be installed or importable "
                f"from the current directory ({current_directory}).",
                option=kind,
            ) from error
        if module_name.startswith("grao_pipeline."):
            raise
        raise _failed_import(kind, target, module_name, error) from error
    return _named(kind, target, module, attribute)


def _failed_import(kind: str, target: str, module: str, error: BaseException) -> UsageError:
    """The user's own module: whatever it raises is the user's to see, at its line, and not a bug of ours."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        place, what = f"{error.filename}:{error.lineno}", error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        last = next((frame for frame in reversed(frames) if not frame.filename.startswith(OURS)), frames[-1])
        place, what = f"{last.filename}:{last.lineno}", str(error)
    return UsageError(
        f"'{target}': importing '{module}' failed at {place}: {type(error).__name__}: {what}.", option=kind
    )


def _module_of_file(kind: str, path: Path) -> ModuleType:
    """The module of a Python file anywhere; its directory can be imported from, as for a script.

    Raises:
        UsageError: there is no such file, or it cannot be imported.
    """
    if not path.is_file():
        raise UsageError(f"there is no file '{path}' (current directory: {Path.cwd()}).", option=kind)
    path = path.resolve()
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    name = path.stem if known is None and path.stem.isidentifier() else f"{path.stem}_{fingerprint(str(path))[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the same
        del sys.modules[name]
        raise _failed_import(kind, str(path), path.name, error) from error
    return module


def _named(kind: str, target: str, module: ModuleType, attribute: str) -> Any:
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        similar = closest(attribute, (name for name in vars(module) if not name.startswith("_")))
        raise UsageError(
            f"'{target}': module '{module.__name__}' has no attribute '{attribute}'.{similar}", option=kind
        ) from error
