"""`grao`: one command, one subcommand per stage, each loaded only when it is named."""

import importlib
from typing import Any

import click

from grao_pipeline import __version__
from grao_pipeline.pipeline import stage_named, stages

OTHER_COMMANDS = {
    "rounds": "Run generate → score → advantages → train → evaluate in rounds.",
    "log": "Log the metrics of a training or of rounds to TensorBoard, Trackio, MLflow or Weights & Biases.",
    "tournament": "Compare many methods on the same sampled and scored groups.",
    "compare": "Say what another reward would change in a training.",
    "audit": "Show what a reward pays for: length, format, hedging.",
    "inspect": "Describe any table, model or evaluation directory.",
    "verify": "Hold an output, and all that it was made from, against their fingerprints.",
    "push": "Push a model or tables to the Hugging Face hub, with a card from the provenance.",
    "report": "Write one self-contained page about a run.",
    "view": "Browse groups with their rewards in a browser.",
    "doctor": "Try what works on this machine: packages, devices, engines, attentions, the sandbox.",
    "plugins": "List rewards, estimators, engines and other plug-ins, and show their arguments.",
    "du": "Say what takes space in a run.",
    "cache": "Look after the cache of judgements.",
}
"""The commands that are not stages, each in the file of its name, with a line for the list of commands."""
SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
"""Of every command's context."""


class LazyGroup(click.Group):
    """Imports a subcommand when it is looked up; lists the stages in the order in which data flows."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*(stage.name for stage in stages()), *OTHER_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in OTHER_COMMANDS:
            try:
                stage_named(cmd_name)
            except KeyError:
                return None
        return command_named(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            from grao_pipeline.options import closest

            known = self.list_commands(ctx)
            hint = closest(name, [*known, *(f"--{flag}" for flag in ("version", "help"))])
            hint = hint or f" Commands: {', '.join(known)}."
            raise click.UsageError(f"No such command '{name}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            from grao_pipeline.cli.command import unknown_option

            raise unknown_option(error) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(stage.name, stage.summary) for stage in stages()] + list(OTHER_COMMANDS.items())
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def command_named(name: str) -> click.Command:
    """`grao NAME`, and `python stages/NAME.py`.

    Raises:
        KeyError: there is no such command.
    """
    if name in OTHER_COMMANDS:
        command: click.Command = getattr(importlib.import_module(f"grao_pipeline.cli.{name}"), name)
        return command
    return stage_command(name)


def stage_command(name: str) -> click.Command:
    """The command of a stage.

    Raises:
        KeyError: there is no such stage.
    """
    from grao_pipeline.cli.command import make_stage_command

    return make_stage_command(stage_named(name))


@click.command(cls=LazyGroup, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="grao")
def main() -> None:
    """Group generation and offline alignment of language models with GRAO.

    \b
    Data flows from left to right, as Parquet; every stage resumes where it stopped:
      prompts → generate → score → advantages → train → evaluate

    \b
    Example:
      grao rounds init
      grao rounds run rounds.yaml
    """
