"""What a user's own plug-in raises, as one error that names the plug-in and the line of its file."""

import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from grao_pipeline.errors import GraoError, StageFailure, UsageError

PANIC = "PanicException"
"""Of Polars; not an `Exception`."""
LONGEST_MESSAGE = 500


@contextmanager
def own_code(what: str, plugin: object, option: str = "") -> Iterator[None]:
    """Call a plug-in within this. For what is ours it does nothing: a bug of ours keeps its traceback.

    Args:
        what: the plug-in, e.g. `Reward 'my.py:polite'`.
        plugin: its class or function.
        option: that named it, while it is made; empty while it works.

    Raises:
        UsageError: it cannot be made (with `option`).
        StageFailure: it failed, ended the process, or deleted modules that this process needs.
    """
    if str(getattr(plugin, "__module__", "")).startswith("grao_pipeline."):
        yield
        return
    modules = dict(sys.modules)
    try:
        yield
    except GraoError:
        raise
    except (Exception, SystemExit) as error:
        raise failure_of(what, plugin, error, option) from error
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise failure_of(what, plugin, error, option) from error
    finally:
        if __name__ not in sys.modules or "builtins" not in sys.modules:
            sys.modules.update(modules)
            raise StageFailure(f"{what} deleted modules from sys.modules that this process needs.")


def failure_of(what: str, plugin: object, error: BaseException, option: str = "") -> UsageError | StageFailure:
    """The error that says what a plug-in raised, and where."""
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception:  # of a class of the user's
        text = ""
    reason = " ".join(f"{kind}: {text}".split()) if text else kind
    if len(reason) > LONGEST_MESSAGE:
        reason = reason[:LONGEST_MESSAGE] + "…"
    message = f"{what} failed at {line_of(plugin, error)}: {reason.rstrip('.')}."
    return UsageError(message, option=option) if option else StageFailure(message)


def line_of(plugin: object, error: BaseException) -> str:
    """`file:line` of the plug-in's file where the error was raised; of its definition, where it was raised elsewhere
    (for what it returned).
    """
    try:
        file = inspect.getsourcefile(inspect.unwrap(plugin))  # type: ignore[arg-type]  # whatever it is
    except (TypeError, ValueError):
        file = None
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    if lines:
        return f"{file}:{lines[-1]}"
    try:
        return f"{file}:{inspect.getsourcelines(plugin)[1]}"  # type: ignore[arg-type]
    except (TypeError, OSError):
        return file or repr(plugin)
