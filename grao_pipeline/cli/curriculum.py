"""`grao curriculum`."""

from typing import Any

import click

from grao_pipeline.cli.command import ConsoleProgress, print_summary, run_stage, stage_options
from grao_pipeline.prompts.options import CurriculumOptions


@click.command()
@click.argument("prompts")
@click.argument("out")
@stage_options(CurriculumOptions)
def curriculum(prompts: str, out: str, as_json: bool, **values: Any) -> None:
    """Choose the next round's prompts by the reward variance that earlier rounds saw.

    PROMPTS is a prompts table, OUT another one that holds the chosen prompts. They are drawn without replacement, in
    proportion to the variance of their samples' rewards, mixed with a uniform share; solved ones are retired. A prompt
    that was never seen counts with the mean variance of those that were.

    \b
    Example:
      grao curriculum data/train r1/prompts --history r0/groups r0/scores --fraction 0.5
    """

    def call(options: CurriculumOptions) -> Any:
        from grao_pipeline.prompts.curriculum import choose_prompts

        return choose_prompts(prompts, out, options, ConsoleProgress())

    print_summary(run_stage(CurriculumOptions, values, call), as_json, f"Curriculum: {prompts} → {out}")


if __name__ == "__main__":
    curriculum()
