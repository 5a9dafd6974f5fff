"""`grao report`."""

import click

from grao_pipeline.cli.command import errors_for_people, given_options, options_of
from grao_pipeline.cli.console import current_progress
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.report.options import ReportOptions


@click.command()
@click.argument("run")
@click.argument("out")
@options_of(ReportOptions)
def report(run: str, out: str, as_json: bool, **values: object) -> None:
    """Write one self-contained page about a run: metrics, training, rewards, costs and samples.

    RUN is the YAML of rounds, their output directory, or any directory of tables, models and evaluations. OUT is an
    HTML file that needs no network: mail it, or open it from disk.

    \b
    Example:
      grao report runs/demo report.html
    """
    with errors_for_people():
        from grao_pipeline.report.report import write_report

        options, _ = given_options(ReportOptions, values)
        summary = write_report(run, out, options, current_progress())
    print_summary(summary, as_json, f"Report: {run} → {out}")
