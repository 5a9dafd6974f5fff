"""Progress and logs on standard error: lines in a pipe, a live bar on a terminal; `-q`, `-v` and GRAO_LOG."""

import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import TypeVar, cast, get_args

import click

from grao_pipeline.cli.lines import Level, LineProgress, print_line
from grao_pipeline.environment import environment
from grao_pipeline.errors import UsageError
from grao_pipeline.progress import Progress
from grao_pipeline.relay import VARIABLE as RELAY
from grao_pipeline.relay import RelayedProgress

Function = TypeVar("Function", bound=Callable[..., object])
LEVEL_VARIABLE = "GRAO_LOG"
"""Environment variable with a level; `-q` and `-v` set it, so that stages started by `grao rounds run` follow."""
LIBRARIES = {
    "transformers": logging.ERROR,
    "vllm": logging.ERROR,
    "datasets": logging.WARNING,
    "huggingface_hub": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "bitsandbytes": logging.ERROR,
}
"""Libraries that log, with the least level that is printed without `-v`."""
LEVEL_VARIABLES = {
    "transformers": "TRANSFORMERS_VERBOSITY",
    "vllm": "VLLM_LOGGING_LEVEL",
    "datasets": "DATASETS_VERBOSITY",
    "huggingface_hub": "HF_HUB_VERBOSITY",
}
"""Libraries that set their logger's level when they are imported, from this environment variable."""
CONTEXT_KEY = "grao_pipeline.progress"


def verbosity_options(function: Function) -> Function:
    """Decorator: `-q/--quiet` and `-v/--verbose`. The command does not receive them; `current_progress` knows them."""
    quiet = click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_take_level,
        help="Print warnings and errors only, next to the summary.",
    )
    verbose = click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_take_level,
        help="Print more: every part or step, and the logs of libraries.",
    )
    return quiet(verbose(function))


def current_progress() -> Progress:
    """The progress of the command that is running: the same object at every call.

    Raises:
        UsageError: GRAO_LOG is not a level.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return make_progress(quiet=False, verbose=False)
    if CONTEXT_KEY not in context.meta:
        if LEVEL_VARIABLE in context.meta:
            context.with_resource(environment({LEVEL_VARIABLE: context.meta[LEVEL_VARIABLE]}))
        progress = context.meta[CONTEXT_KEY] = make_progress(quiet=False, verbose=False)
        if isinstance(progress, RelayedProgress):
            context.call_on_close(progress.close)  # the process may run further commands
    return cast(Progress, context.meta[CONTEXT_KEY])


def make_progress(quiet: bool, verbose: bool) -> Progress:
    """Progress on standard error, and the logs of libraries to match.

    Args:
        quiet, verbose: without either, GRAO_LOG decides.

    Raises:
        UsageError: both, or GRAO_LOG is not a level.
    """
    level = log_level(quiet, verbose)
    configure_logging(level)
    relay = os.environ.pop(RELAY, None)
    if relay is not None:
        return RelayedProgress(relay)
    if os.environ.get("RANK", "0") != "0":  # of torchrun's processes, the first one prints
        return LineProgress("warning")
    if level != "warning" and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from grao_pipeline.cli.live import LiveProgress

        return LiveProgress(level)
    return LineProgress(level)


def log_level(quiet: bool, verbose: bool) -> Level:
    """`debug`, `info` or `warning`.

    Raises:
        UsageError: both, or an unknown level in GRAO_LOG.
    """
    if quiet and verbose:
        raise UsageError("Give --quiet or --verbose, not both.")
    if quiet or verbose:
        return "warning" if quiet else "debug"
    level = os.environ.get(LEVEL_VARIABLE, "info").lower()
    if level not in get_args(Level):
        raise UsageError(f"{LEVEL_VARIABLE}={level}: expected one of {', '.join(get_args(Level))}.")
    return cast(Level, level)


def configure_logging(level: Level) -> None:
    """Send the logs of libraries to standard error: with `debug` all but their debug messages, else what went wrong.

    A user who sets a library's own environment variable keeps what was set.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # its default is standard output
    logging.basicConfig(handlers=[_StandardError()], format="%(levelname)s %(name)s: %(message)s")
    for name, least in LIBRARIES.items():
        least = logging.INFO if level == "debug" else least
        logging.getLogger(name).setLevel(least)
        if name in LEVEL_VARIABLES:
            text = logging.getLevelName(least)
            os.environ.setdefault(LEVEL_VARIABLES[name], text if name == "vllm" else text.lower())
    if level != "debug":
        warnings.filterwarnings("ignore", category=FutureWarning)


class _StandardError(logging.Handler):
    """Writes to what `sys.stderr` is at that moment: above the bar, where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        print_line(self.format(record))


def _take_level(context: click.Context, parameter: click.Parameter, is_given: bool) -> None:
    if not is_given:
        return
    level: Level = "warning" if parameter.name == "quiet" else "debug"
    if context.meta.setdefault(LEVEL_VARIABLE, level) != level:
        raise click.UsageError("Give --quiet or --verbose, not both.")
