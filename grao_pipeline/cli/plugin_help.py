"""Help texts of plug-ins: what `grao plugins` prints, and what `grao score --reward NAME --help` adds."""

import textwrap
from collections.abc import Sequence

import click

from grao_pipeline.errors import GraoError
from grao_pipeline.options import StageOptions, extra_of, option_flag
from grao_pipeline.plugin_kinds import PluginDescription, describe_plugin


def write_plugin_help(model: type[StageOptions], words: Sequence[str], formatter: click.HelpFormatter) -> None:
    """Add a section for every plug-in that a command line names, e.g. by `--reward length`.

    Raises:
        click.UsageError: there is no such plug-in, or a package that it needs is not installed.
    """
    for name, field in model.model_fields.items():
        kind = extra_of(field).get("plugin")
        plugin = _value_of(option_flag(name), words) if kind else None
        if plugin and plugin != "auto":
            try:
                write_description(describe_plugin(str(kind), plugin), formatter)
            except GraoError as error:
                raise click.UsageError(str(error)) from None


def write_description(plugin: PluginDescription, formatter: click.HelpFormatter) -> None:
    """A plug-in's summary, and its arguments with types, defaults and help."""
    with formatter.section(f"{plugin.kind} '{plugin.name}'"):
        if plugin.summary:
            formatter.write_text(plugin.summary)
            formatter.write_paragraph()
        if plugin.method is not None:
            formatter.write_text(f"Source: {plugin.method.source}.")
            formatter.write(textwrap.indent(plugin.method.formula, "    ") + "\n")
            if plugin.method.needs:
                formatter.write_text(f"Needs: {plugin.method.needs}.")
            formatter.write_paragraph()
        if not plugin.arguments:
            formatter.write_text("It has no arguments.")
            return
        rows = []
        for argument in plugin.arguments:
            default = argument["default"]
            note = (
                "  [required]" if argument["required"] else "" if default in (None, {}) else f"  [default: {default}]"
            )
            separator = "." if argument["type"] == "KEY=value" else "="
            rows.append((f"{argument['name']}{separator}{argument['type']}", f"{argument['help']}{note}"))
        if plugin.argument_option:
            formatter.write_text(f"Arguments, each as {option_flag(plugin.argument_option)} NAME=VALUE:")
        formatter.write_dl(rows)


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    """The value that a command line gives to a flag."""
    for number, word in enumerate(words):
        if word == flag and number + 1 < len(words):
            return words[number + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
