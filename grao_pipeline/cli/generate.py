"""`grao generate`."""

from typing import Any

import click

from grao_pipeline.cli.command import ConsoleProgress, print_summary, run_stage, stage_options
from grao_pipeline.generation.options import GenerateOptions


@click.command()
@click.argument("prompts")
@click.argument("out")
@stage_options(GenerateOptions)
def generate(prompts: str, out: str, as_json: bool, **values: Any) -> None:
    """Sample a group of completions for every prompt.

    PROMPTS is a prompts table, OUT the groups table. Parts are committed as they are finished; the same command goes
    on after an interruption.

    \b
    Example:
      grao generate data/gsm8k/train runs/groups --model models/base --samples 8 --max-new-tokens 512
    """

    def call(options: GenerateOptions) -> Any:
        from grao_pipeline.generation.generate import generate_groups

        return generate_groups(prompts, out, options, ConsoleProgress())

    print_summary(run_stage(GenerateOptions, values, call), as_json, f"Groups: {prompts} → {out}")


if __name__ == "__main__":
    generate()
