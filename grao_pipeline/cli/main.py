"""`grao`: one command, one subcommand per stage, each loaded only when it is named."""

import importlib

import click

from grao_pipeline import __version__

COMMANDS = {
    "prompts": "grao_pipeline.cli.prompts:prompts",
    "curriculum": "grao_pipeline.cli.curriculum:curriculum",
    "import": "grao_pipeline.cli.import_groups:import_groups",
    "generate": "grao_pipeline.cli.generate:generate",
    "score": "grao_pipeline.cli.score:score",
    "advantages": "grao_pipeline.cli.advantages:advantages",
    "train": "grao_pipeline.cli.train:train",
    "evaluate": "grao_pipeline.cli.evaluate:evaluate",
    "rounds": "grao_pipeline.cli.rounds:rounds",
    "inspect": "grao_pipeline.cli.inspect:inspect",
    "cache": "grao_pipeline.cli.cache:cache",
}


class LazyGroup(click.Group):
    """Imports a subcommand's module when the subcommand is looked up; lists them in the order in which data flows."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="grao")
def main() -> None:
    """Group generation and offline alignment of language models with GRAO.

    \b
    Data flows from left to right, as Parquet; every stage resumes where it stopped:
      prompts → generate → score → advantages → train → evaluate

    \b
    Example:
      grao rounds run examples/demo/rounds.yaml
    """


if __name__ == "__main__":
    main(prog_name="grao")
