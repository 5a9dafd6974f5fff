"""What all commands share: options made from the options models, clear errors, one summary."""

import atexit
import json
import os
import signal
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from grao_pipeline.cli.console import current_progress, verbosity_options
from grao_pipeline.errors import GraoError, UsageError
from grao_pipeline.options import CommandLine, StageOptions, extra_of, option_flag, parse_options
from grao_pipeline.processes import GRACE_SECONDS, PARENT_VARIABLE

Function = TypeVar("Function", bound=Callable[..., Any])
Options = TypeVar("Options", bound=StageOptions)


ConsoleProgress = current_progress


def json_option(function: Function) -> Function:
    """Decorator: `--json`, `-q` and `-v`, the last options of every command."""
    option = click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
    return option(verbosity_options(function))


class StageError(click.ClickException):
    """A library error as the user sees it: one message, exit code 1."""


class StageUsageError(StageError):
    """Wrong usage: exit code 2."""

    exit_code = 2


def stage_options(model: type[StageOptions]) -> Callable[[Function], Function]:
    """Decorator: one click option per field of the options model, and `--json`."""

    def decorate(function: Function) -> Function:
        json_option(function)
        for name, field in reversed(model.model_fields.items()):
            _option(name, field)(function)
        return function

    return decorate


def run_stage(model: type[Options], values: dict[str, Any], call: Callable[[Options], Any]) -> Any:
    """Parse the options, call the library, turn its errors into click's.

    Returns:
        what `call` returns.
    """
    _stop_with_parent()
    try:
        options = parse_options(model, {key: value for key, value in values.items() if value is not None})
        with current_progress().track("starting"):  # importing a large library takes seconds
            return call(options)
    except UsageError as error:
        raise StageUsageError(CommandLine().render(error.message, error.option)) from None
    except GraoError as error:
        raise StageError(str(error)) from None


def print_summary(summary: Any, as_json: bool, title: str) -> None:
    """Print a summary (a dataclass or a dictionary) on standard output, for people or as JSON."""
    value = asdict(summary) if is_dataclass(summary) and not isinstance(summary, type) else summary
    if as_json:
        click.echo(json.dumps(value))
        return
    click.echo(title)
    for key, item in value.items():
        label = key.replace("_", " ")
        if isinstance(item, list) and item and isinstance(item[0], dict):
            click.echo(f"  {label}\n{_readable_rows(item)}")
        elif item not in (None, "", {}, []):
            click.echo(f"  {label:<26} {_readable(item)}")


def _readable_rows(rows: list[dict[str, Any]]) -> str:
    """Dictionaries of the same keys as a table; long words are cut."""
    lines = [[key.replace("_", " ") for key in rows[0]]]
    lines += [["–" if item is None else _readable(item) for item in row.values()] for row in rows]
    lines = [[cell if len(cell) <= 24 else f"{cell[:8]}…" for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("    " + "  ".join(map(str.rjust, line, widths)) for line in lines)


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_readable(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _option(name: str, field: FieldInfo) -> Callable[[Function], Function]:
    flag = option_flag(field.alias or name)
    kind, multiple = _click_type(field.annotation)
    required = field.is_required()
    default = None if required or field.default is PydanticUndefined else field.default
    if kind is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=default, help=field.description, show_default=True)
    return click.option(
        flag,
        name,
        type=kind,
        nargs=2 if kind == (str, str) else 1,
        metavar=extra_of(field).get("metavar"),
        default=None if multiple else default,
        multiple=multiple,
        required=required,
        show_default=default is not None and not multiple,
        help=field.description,
    )


def _click_type(annotation: Any) -> tuple[Any, bool]:
    """(click type, may be repeated) of a field's annotation."""
    origin = get_origin(annotation)
    if origin is Literal:
        return click.Choice(list(get_args(annotation))), False
    if origin is list:
        element = get_args(annotation)[0]
        return (str, str) if get_origin(element) is tuple else element if element in (int, float) else str, True
    if origin in (Union, types.UnionType):
        return _click_type(next(arg for arg in get_args(annotation) if arg is not type(None)))
    return annotation, False


def _stop_with_parent() -> None:
    """Where the rounds' process started this one, end when it ends (also by `kill -9`): as on any SIGTERM, so that what
    is finished is kept; after a while, by force.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return

    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            if os.getppid() != int(parent):
                sys.stderr.write("The rounds' process is gone; stopping.\n")
                os.kill(os.getpid(), signal.SIGTERM)
                stop.wait(GRACE_SECONDS)
                os._exit(1)

    thread = threading.Thread(target=watch, name="grao-parent-watch", daemon=True)
    thread.start()

    def end() -> None:
        """A daemon thread that wakes while the interpreter shuts down can abort the process."""
        stop.set()
        thread.join()

    atexit.register(end)
