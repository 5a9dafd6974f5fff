"""Every command as a page of Markdown, from Click itself: nothing of it is written by hand."""

import re
from collections.abc import Iterator

import click

from grao_pipeline.cli.command import StageCommand
from grao_pipeline.cli.main import OTHER_COMMANDS, main
from grao_pipeline.pipeline import stages

WIDTH = 1000
"""Columns, so that no help text is folded."""


def pages() -> Iterator[tuple[str, str]]:
    """(name of the file, Markdown) of the index and of every command."""
    yield "index.md", _index()
    for name in command_names():
        yield f"{name}.md", page(name)


def command_names() -> list[str]:
    """The stages in the order in which data flows, then the other commands."""
    return [*(stage.name for stage in stages()), *OTHER_COMMANDS]


def page(name: str) -> str:
    """One command; a group with each of its subcommands."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    lines = [f"# grao {name}", ""]
    if isinstance(command, click.Group):
        lines += [*_description(command)]
        for subname in sorted(command.commands):
            lines += [f"## grao {name} {subname}", "", *_body(command.commands[subname], f"grao {name} {subname}")]
    else:
        lines += _body(command, f"grao {name}")
    return "\n".join(lines) + "\n"


def _index() -> str:
    rows = [(stage.name, stage.summary) for stage in stages()] + list(OTHER_COMMANDS.items())
    head = [
        "# Commands",
        "",
        "`grao COMMAND --help` prints the same, and with `--reward NAME`, `--estimator`, `--objective` … the arguments",
        "of that plug-in as well. [Completion](../getting-started.md#install) fills in names, options and plug-ins.",
        "",
        "| command | what it does |",
        "|---|---|",
    ]
    return "\n".join([*head, *(f"| [grao {name}]({name}.md) | {_cell(text)} |" for name, text in rows)]) + "\n"


def _description(command: click.Command) -> list[str]:
    """The help text; what Click is told to leave as it is (examples) becomes a block of code."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", (command.help or "").replace("\f", "\n\n")):
        is_verbatim = paragraph.lstrip("\n").startswith("\b")
        text = paragraph.replace("\b\n", "").replace("\b", "")
        lines += ["```text", *text.rstrip().split("\n"), "```", ""] if is_verbatim else [_prose(text), ""]
    return lines


def _body(command: click.Command, path: str) -> list[str]:
    context = click.Context(command, info_name=path, max_content_width=WIDTH, terminal_width=WIDTH)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines = ["```text", usage, "```", "", *_description(command)]
    for title, records in _sections(command, context):
        lines += [f"**{title}**", "", "| option | meaning |", "|---|---|"]
        lines += [f"| `{_code(option)}` | {_cell(text)} |" for option, text in records]
        lines.append("")
    return lines


def _sections(command: click.Command, context: click.Context) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(title, its options) as `--help` prints them."""
    if isinstance(command, StageCommand):
        yield from command.sections(context)
        return
    records = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    yield "Options", records


def _code(text: str) -> str:
    return text.replace("|", "\\|")


def _cell(text: str) -> str:
    return _prose(text).replace("|", "\\|")


def _prose(text: str) -> str:
    """A help text, whose capitals and signs Markdown must not read as markup."""
    return re.sub(r"([*_<>`\[\]])", r"\\\1", " ".join(text.split()))
