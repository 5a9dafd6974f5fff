"""Help texts of plug-ins: what `grao plugins` prints, and what `grao score --reward NAME --help` adds."""

import textwrap
from collections.abc import Sequence
from itertools import pairwise

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
        for plugin in _values_of(option_flag(name), words) if kind else ():
            try:
                write_description(describe_plugin(str(kind), plugin), formatter)
            except GraoError as error:
                raise click.UsageError(str(error)) from None


def write_description(plugin: PluginDescription, formatter: click.HelpFormatter) -> None:
    """A plug-in's summary, and its arguments with types, defaults and help."""
    with formatter.section(f"{plugin.kind.replace('_', ' ')} '{plugin.name}'"):
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


def _values_of(flag: str, words: Sequence[str]) -> list[str]:
    """The names that a command line gives to a flag, each once, `auto` left out."""
    following = [after for word, after in pairwise(words) if word == flag]
    joined = [word.partition("=")[2] for word in words if word.startswith(f"{flag}=")]
    return [name for name in dict.fromkeys([*following, *joined]) if name not in ("", "auto")]
