"""`grao doctor`."""

import shutil
import textwrap
from typing import TYPE_CHECKING

import click

from grao_pipeline.cli.command import StageError, errors_for_people, given_options, options_of
from grao_pipeline.cli.console import current_progress
from grao_pipeline.cli.summaries import WIDTH, print_summary
from grao_pipeline.cli.terminal import echo, visible
from grao_pipeline.doctor.options import DoctorOptions

if TYPE_CHECKING:
    from grao_pipeline.doctor.examine import Trial

MARKS = {"works": "✓", "fails": "✗", "not installed": "–", "not here": "–"}


def _line(head: str, text: str) -> str:
    """What something is called and what is said of it, which goes below where both are too long for the terminal."""
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    if len(head) + len(text) < width:
        return f"{head} {text}"
    below = textwrap.wrap(text, width - 4, break_long_words=False, break_on_hyphens=False)
    return "\n    ".join([head.rstrip(), *below])


def _detail(trial: "Trial") -> str:
    """Of what is not installed, the command alone."""
    return trial.detail.partition("Run: ")[2] or trial.detail if trial.state == "not installed" else trial.detail


@click.command()
@options_of(DoctorOptions)
def doctor(as_json: bool, **values: object) -> None:
    """Try what works on this machine: packages, devices, engines, attentions, the sandbox; and free disk and memory.

    Each trial does real work on a tiny model, in another process. What is not installed comes with the command that
    installs it; the exit code is 1 where something is installed and does not work.

    \b
    Examples:
      grao doctor
      grao doctor --only devices --only attentions
    """
    with errors_for_people():
        from grao_pipeline.doctor.examine import examine_machine

        options, _ = given_options(DoctorOptions, values)
        diagnosis = examine_machine(options, current_progress())
    if as_json:
        print_summary(diagnosis, True, "")
    else:
        for name, fact in diagnosis.machine.items():
            echo(_line(f"  {name:<24}", fact))
        for place, free in diagnosis.disks.items():
            echo(_line(f"  {free:>9,.1f} GB free     ", place))
        for trial in diagnosis.trials:
            echo(_line(f"{MARKS[trial.state]} {trial.name:<24} {trial.state:<13}", _detail(trial)))
        for note in diagnosis.notes:
            echo(f"note: {note}")
    if diagnosis.failures:
        raise StageError(visible("\n".join(diagnosis.failures)))
