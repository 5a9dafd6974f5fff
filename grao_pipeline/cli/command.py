"""From the record of a stage to its command; and what all commands share."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

from grao_pipeline.children import is_child, stop_with_parent
from grao_pipeline.cli.console import current_progress, verbosity_options
from grao_pipeline.cli.machine import machine_problem, small_address_space
from grao_pipeline.cli.parameters import option_declarations, paths
from grao_pipeline.cli.plugin_help import write_plugin_help
from grao_pipeline.cli.streams import standard_output_to_error
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.cli.terminal import visible
from grao_pipeline.errors import GraoError, Interrupted, StageFailure, StoppedElsewhere, UsageError, shortened
from grao_pipeline.options import CommandLine, Options, OptionSource, StageOptions, closest, parse_options
from grao_pipeline.options_file import read_options_file
from grao_pipeline.relay import RelayedProgress
from grao_pipeline.stage import Stage

Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """Decorator: `--json`, `-q` and `-v`, the last options of every command."""
    option = click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
    return option(verbosity_options(function))


class StageError(click.ClickException):
    """A library error as the user sees it: one message, exit code 1."""


class StageUsageError(StageError):
    """Wrong usage: exit code 2."""

    exit_code = 2


class CommandGroup(click.Group):
    """A group whose list of commands has their first sentences in full."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(limit=1000)) for name, command in sorted(self.commands.items())]
            )


class StageCommand(click.Command):
    """A command whose help also shows the arguments of the plug-ins that the command line names."""

    options_model: type[StageOptions] = StageOptions

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["grao.arguments"] = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise unknown_option(error) from None
        except click.UsageError as error:
            raise click.UsageError(shortened(error.format_message() + _closest_choice(error)), ctx) from None

    def sections(self, ctx: click.Context) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """(title, options with their help) under the titles of the options model, the most needed options first."""
        model, title = self.options_model, "Options"
        titles: dict[str, str] = {}
        for name in model.model_fields:
            title = model.help_sections.get(name, title)
            titles[name] = "Options" if name in model.first_options else title
        order = {name: place for place, name in enumerate(model.first_options)}
        parameters = [item for item in self.get_params(ctx) if isinstance(item, click.Option)]  # the help has the rest
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in sorted(parameters, key=lambda item: order.get(item.name or "", len(order))):
            title = titles.get(parameter.name or "", "Other options" if model.help_sections else "Options")
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(title, []).append(record)
        yield from ((name, records) for name, records in sections.items() if records)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, records in self.sections(ctx):
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_plugin_help(self.options_model, ctx.meta.get("grao.arguments", ()), formatter)
        super().format_epilog(ctx, formatter)


def unknown_option(error: click.NoSuchOption) -> click.UsageError:
    """The error of an option that a command does not have, with the nearest one that it has."""
    parameters = error.ctx.command.get_params(error.ctx) if error.ctx is not None else []
    flags = [flag for parameter in parameters for flag in parameter.opts]
    return click.UsageError(f"No such option '{error.option_name}'.{closest(error.option_name, flags)}", error.ctx)


def _closest_choice(error: click.UsageError) -> str:
    """` Did you mean split?` for a value that is not among the choices of an option."""
    choices = getattr(getattr(error, "param", None), "type", None)
    value = re.match(r"'(.*)' is not one of", error.message)
    return closest(value[1], choices.choices) if isinstance(choices, click.Choice) and value else ""


def make_stage_command(stage: Stage) -> click.Command:
    """`grao NAME`: its inputs and OUT, one option per field of its options model."""
    model = stage.options_model

    def run(out: str, as_json: bool, options_file: Path | None, **values: Any) -> None:
        inputs = [values.pop(name) for name in stage.inputs]
        with errors_for_people() as reported:
            options, reported.source = given_options(model, values, options_file)
            summary = stage.run(inputs, out, options, current_progress())
            if isinstance(relay := current_progress(), RelayedProgress):
                if is_first_rank():
                    relay.finish(asdict(summary))
                return
        is_preview = getattr(options, "dry_run", False)
        what = "Dry run" if is_preview else stage.output.capitalize()
        title = f"{what}: {' + '.join(inputs)} → {out}" if inputs else f"{what}: {out}"
        if is_first_rank():
            print_summary(summary, as_json, title)

    decorated = options_of(model, options_file_option)(run)
    for name in reversed((*stage.inputs, "out")):
        decorated = click.argument(name, shell_complete=paths)(decorated)
    make = click.command(stage.name, cls=StageCommand, help=_help(stage), short_help=stage.summary)
    command = make(decorated)
    command.options_model = model
    return command


def is_first_rank() -> bool:
    """Under torchrun every rank runs the command; this is the one that prints."""
    return os.environ.get("RANK", "0") == "0"


options_file_option = click.option(
    "--options",
    "options_file",
    type=click.Path(path_type=Path),
    help='JSON file of options by their names in YAML, e.g. {"max_new_tokens": 512}; flags win over it.',
)


def options_of(model: type[StageOptions], *others: Callable[..., object]) -> Callable[[Function], Function]:
    """Decorator: one option per field of the options model, then other options, then `--json`, `-q` and `-v`."""

    def decorate(function: Function) -> Function:
        json_option(function)
        for option in reversed(others):
            option(function)
        for names, attributes in reversed(option_declarations(model)):
            click.option(*names, **attributes)(function)
        return function

    return decorate


class ErrorContext:
    """Where the options of the running command were written."""

    source: OptionSource = CommandLine()


@contextmanager
def errors_for_people() -> Iterator[ErrorContext]:
    """Set up the process for a command, and turn the library's errors into click's."""
    stop_with_parent()
    context = ErrorContext()
    problem = small_address_space()
    if problem is not None:
        raise StageError(problem)
    try:
        # What a plug-in prints must not mix with the summary, which --json promises to be one object.
        with (
            standard_output_to_error(),
            current_progress().track("starting"),
        ):  # importing a large library takes seconds
            yield context
    except GraoError as error:
        _refuse(error, context.source)
    except KeyboardInterrupt:
        raise StageError("Stopped. Run the same command again; what is written is reused.") from None
    except (SystemExit, GeneratorExit, click.exceptions.Exit, click.ClickException):
        raise
    except BaseException as error:  # without memory, libraries fail in any way; Polars panics
        problem = machine_problem(error)
        if problem is None:
            raise
        _refuse(StageFailure(problem), context.source)


def _refuse(error: GraoError, source: OptionSource) -> NoReturn:
    """End the command by an error."""
    with suppress(UsageError):  # about the progress itself
        progress = current_progress()
        if isinstance(progress, RelayedProgress):  # the process that started this one says why
            progress.fail(error)
            raise SystemExit(1)
    if isinstance(error, UsageError):
        raise StageUsageError(visible(source.render(error.message, error.option))) from None
    if isinstance(error, StoppedElsewhere):
        raise SystemExit(1)  # the rank that failed says why
    if isinstance(error, Interrupted) and is_child():
        click.echo(visible(str(error)), err=True)
        raise SystemExit(1)  # the process that was asked to stop reports the one error
    raise StageError(visible(str(error))) from None


def given_options(
    model: type[Options], values: Mapping[str, object], options_file: Path | None = None
) -> tuple[Options, OptionSource]:
    """The options of a command line, over those of a file.

    Raises:
        UsageError: names every wrong option.
        InputError: the file cannot be read.
    """
    context = click.get_current_context()
    flags = {
        model.model_fields[name].alias or name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    written: dict[str, Any] = {}
    source: OptionSource = CommandLine()
    if options_file is not None:
        written, file_source = read_options_file(options_file)
        source = _FlagsOverFile(flags, file_source)
    return parse_options(model, {**written, **flags}, source), source


class _FlagsOverFile:
    """Options of a file, some of them given as flags instead."""

    def __init__(self, flags: Mapping[str, object], file: OptionSource) -> None:
        self._flags = flags
        self._file = file

    def render(self, message: str, option: str = "") -> str:
        source = CommandLine() if option.rstrip("_") in self._flags else self._file
        return source.render(message, option)


def _help(stage: Stage) -> str:
    title = "Examples" if len(stage.examples) > 1 else "Example"
    lines = [line for example in stage.examples for line in folded(example)]
    return "\n\n".join([stage.summary, stage.description, "\b\n" + "\n".join([f"{title}:", *lines])])


def folded(command: str, width: int = 96) -> Iterator[str]:
    """A command line, continued with a backslash where it is long."""
    line = " "
    for word in command.split(" "):
        if len(line) + len(word) > width:
            yield f"{line} \\"
            line = "   "
        line += f" {word}"
    yield line
