"""`grao train`."""

from typing import Any

import click

from grao_pipeline.config import TrainOptions
from stages._command import notice, print_summary, run_stage, stage_options


@click.command()
@click.argument("groups")
@click.argument("advantages")
@click.argument("out")
@stage_options(TrainOptions)
def train(groups: str, advantages: str, out: str, as_json: bool, **values: Any) -> None:
    """Train a model on groups with their advantages.

    OUT becomes a Hugging Face model directory; OUT/metrics.jsonl holds one line per optimizer step. The same command
    resumes exactly after an interruption.

    \b
    Example:
      grao train runs/groups runs/advantages runs/model --model models/base --learning-rate 1e-6
    """

    def call(options: TrainOptions) -> Any:
        from grao_pipeline.training.train import train_model

        return train_model(groups, advantages, out, options, notice)

    print_summary(run_stage(TrainOptions, values, call), as_json, f"Model: {groups} + {advantages} → {out}")


if __name__ == "__main__":
    train()
