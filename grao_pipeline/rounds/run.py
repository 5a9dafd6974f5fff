"""`grao rounds run`. What is imported here is light: the stages' processes start while the loop is imported."""

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.rounds.config.keys import read_rounds_file
from grao_pipeline.rounds.executors import make_commands

if TYPE_CHECKING:
    from grao_pipeline.rounds.loop import RunSummary


def run_rounds(path: str, progress: Progress = SILENT, *, log_to: Sequence[str] | None = None) -> "RunSummary":
    """Do what is left of a configuration's rounds.

    Args:
        log_to: trackers that get the metrics of every training and evaluation when it is finished.

    Example:
        run_rounds("rounds.yaml").made

    Raises:
        GraoError: the configuration or an input is not usable, another process runs it, or a stage failed. In a sweep
            a failed stage ends its variant only, and the summary says so.
    """
    file = read_rounds_file(path)
    with closing(make_commands(file.keys.executor)) as commands:  # at once: it may take seconds until it is ready
        from grao_pipeline.rounds.config.compile import compile_rounds
        from grao_pipeline.rounds.loop import run_plan
        from grao_pipeline.tracking.follow import check_trackers

        check_trackers(list(log_to or ()), "log_to")
        return run_plan(compile_rounds(file), commands, progress, log_to or ())
