"""Receipts: what a finished task took. One that is damaged costs its times and numbers, never the output."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grao_pipeline.errors import DamagedPart, MismatchError
from grao_pipeline.progress import Progress
from grao_pipeline.rounds.tasks import Task
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import read_record, write_record


@dataclass(frozen=True)
class Receipt:
    """What a finished task took, its stopped runs included. Kept next to its output for every run that reuses it."""

    seconds: float
    summary: dict[str, Any]


def read_receipt(out: Path) -> Receipt | None:
    """The receipt of a finished output; None without one.

    Raises:
        DamagedPart: it is damaged.
        MismatchError: another program wrote it.
    """
    value = read_record(Directory(out.parent), f"{out.name}.receipt.json")
    return None if value is None else Receipt(float(value["seconds"]), value["summary"])


@dataclass
class Receipts:
    """The receipts of tasks, next to their outputs.

    Args:
        progress: is told of damaged ones.
    """

    progress: Progress
    _warned: set[str] = field(default_factory=set)

    def of(self, task: Task) -> Receipt | None:
        """The receipt of a finished task; None without one, or where it is damaged."""
        value = self._read(task, "receipt")
        return None if value is None else Receipt(float(value["seconds"]), value["summary"])

    def write(self, task: Task, seconds: float, summary: Mapping[str, object]) -> None:
        """The receipt of a task that ended well.

        Args:
            seconds: of its last run.
        """
        self._write(task, "receipt", {"seconds": self._spent(task, seconds), "summary": summary})

    def spend(self, task: Task, seconds: float) -> None:
        """Remember a run that was stopped or failed."""
        self._write(task, "spent", {"seconds": self._spent(task, seconds)})

    def _spent(self, task: Task, seconds: float) -> float:
        value = self._read(task, "spent")
        return round(seconds + (float(value["seconds"]) if value else 0.0), 3)

    def _read(self, task: Task, kind: str) -> dict[str, Any] | None:
        if task.out is None:
            return None
        try:
            return read_record(Directory(task.out.parent), f"{task.out.name}.{kind}.json")
        except (DamagedPart, MismatchError) as error:
            if str(error) not in self._warned:
                self._warned.add(str(error))
                self.progress.warn(f"{error} What {task.name} took is not known.")
            return None

    def _write(self, task: Task, kind: str, value: Mapping[str, object]) -> None:
        assert task.out is not None
        write_record(Directory(task.out.parent), f"{task.out.name}.{kind}.json", value)
