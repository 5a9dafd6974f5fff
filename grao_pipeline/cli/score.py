"""`grao score`."""

from typing import Any

import click

from grao_pipeline.cli.command import ConsoleProgress, print_summary, run_stage, stage_options
from grao_pipeline.scoring.options import ScoreOptions


@click.command()
@click.argument("groups")
@click.argument("out")
@stage_options(ScoreOptions)
def score(groups: str, out: str, as_json: bool, **values: Any) -> None:
    """Judge every sample, and the reference, with a reward.

    GROUPS is a groups table, OUT the scores table of this reward.

    \b
    Example:
      grao score runs/groups runs/scores/gsm8k --reward gsm8k
    """

    def call(options: ScoreOptions) -> Any:
        from grao_pipeline.scoring.score import score_groups

        return score_groups(groups, out, options, ConsoleProgress())

    print_summary(run_stage(ScoreOptions, values, call), as_json, f"Scores: {groups} → {out}")


if __name__ == "__main__":
    score()
