"""What both demos do: the rounds of a configuration, answers to look at, and the report."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from grao_pipeline.cli.main import main as grao


def run_and_report(config: str, run: Path, report: Path, show_answers: Callable[[], None]) -> None:
    """Run or resume the rounds, whose output is `run`; what the command says of a mistake ends the program."""
    try:
        grao(["rounds", "run", config], standalone_mode=False)
        show_answers()
        grao(["report", str(run), str(report), "--quiet"], standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    click.echo(f"\nThe report, with every sample: {report.resolve().as_uri()}\nLive: grao view {run}")
