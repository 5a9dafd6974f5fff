"""`grao train`."""

import os
from typing import Any

import click

from grao_pipeline.cli.command import ConsoleProgress, print_summary, run_stage, stage_options
from grao_pipeline.training.options import TrainOptions


@click.command()
@click.argument("groups")
@click.argument("advantages")
@click.argument("out")
@stage_options(TrainOptions)
def train(groups: str, advantages: str, out: str, as_json: bool, **values: Any) -> None:
    """Train a model on groups with their advantages.

    OUT becomes a Hugging Face model directory; OUT/metrics.jsonl holds one line per optimizer step. The same command
    resumes exactly after an interruption. Under torchrun the model is spread over all processes (FSDP2), and a training
    goes on from a checkpoint of any number of them.

    \b
    Example:
      grao train runs/groups runs/advantages runs/model --model models/base --learning-rate 1e-6
      grao train r1/groups r1/advantages r1/model --model r0/model --replay r0/groups r0/advantages --allow-off-policy
      torchrun --nproc-per-node 8 -m grao_pipeline train runs/groups runs/advantages runs/model --model models/base
    """

    def call(options: TrainOptions) -> Any:
        from grao_pipeline.training.dry_run import estimate_training
        from grao_pipeline.training.model.distributed import StoppedElsewhere
        from grao_pipeline.training.train import train_model

        if options.dry_run:
            return estimate_training(groups, advantages, options)
        try:
            return train_model(groups, advantages, out, options, ConsoleProgress())
        except StoppedElsewhere:
            raise SystemExit(1) from None  # the rank that failed says why

    summary = run_stage(TrainOptions, values, call)
    what = "Dry run" if values["dry_run"] else "Model"
    if os.environ.get("RANK", "0") == "0":
        print_summary(summary, as_json, f"{what}: {groups} + {advantages} → {out}")


if __name__ == "__main__":
    train()
