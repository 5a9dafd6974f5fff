"""The seam of trackers: numbers by step, run by run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from grao_pipeline.plugins import require


class Tracker(ABC):
    """Keeps the numbers of runs. A new tracker is one subclass, and one line in `TRACKERS` where it is built in.

    Example:
        class PrintedTracker(Tracker):
            def log(self, run, step, values):
                print(run, step, values)

    Args:
        folder: of the training or of the rounds that are followed.
        project: what groups the runs of one piece of work.

    Raises:
        MissingDependency: its package is not installed.
    """

    package: ClassVar[str] = ""
    """What it needs; empty where it needs nothing."""
    has_tables: ClassVar[bool] = False
    """Whether `log_samples` keeps rows."""

    def __init__(self, folder: Path, project: str) -> None:
        if self.package:
            require(self.package)
        self.folder = folder
        self.project = project

    @abstractmethod
    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Keep the numbers of one step. Steps of a run come in order; those of several runs may alternate."""

    def log_samples(self, run: str, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Keep some samples as a table.

        Args:
            step: the round that they belong to.
            rows: all with the same keys; values are texts, numbers or None.
        """
        return

    def close(self) -> None:
        """Write what is still in memory."""
        return
