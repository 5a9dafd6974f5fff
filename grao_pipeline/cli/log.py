"""`grao log`."""

import click

from grao_pipeline.cli.command import errors_for_people, given_options, options_of
from grao_pipeline.cli.console import current_progress
from grao_pipeline.cli.parameters import paths
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.tracking.options import LogOptions


@click.command()
@click.argument("run", shell_complete=paths)
@options_of(LogOptions)
def log(run: str, as_json: bool, **values: object) -> None:
    """Log the metrics of a training or of rounds to a tracker, also while they run.

    RUN is the directory of a training, or the output of rounds. Each step is logged once, however often the command is
    repeated. It only reads what a training writes, so that a tracker can never stop one.

    \b
    Examples:
      grao log runs/model --to tensorboard
      grao log runs/demo --to trackio --to mlflow --follow
    """
    with errors_for_people():
        from grao_pipeline.tracking.follow import log_run

        options, _ = given_options(LogOptions, values)
        summary = log_run(run, options, current_progress())
    print_summary(summary, as_json, f"Logged {run}")
