"""`grao du`."""

import click

from grao_pipeline.cli.command import errors_for_people, json_option
from grao_pipeline.cli.summaries import print_summary


@click.command()
@click.argument("run")
@json_option
def du(run: str, as_json: bool) -> None:
    """Say what takes space in a run of the rounds: by stage, by kind of file, and the largest outputs.

    RUN is the output directory of a run, or a store.

    \b
    Example:
      grao du runs/gsm8k
    """
    with errors_for_people():
        from grao_pipeline.rounds.disk_usage import disk_usage

        usage = disk_usage(run)
    print_summary(usage, as_json, usage.path)
