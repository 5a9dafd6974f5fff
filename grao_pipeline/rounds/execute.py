"""Making one task: its stage's command in a process of its own, and a receipt of what it took."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from grao_pipeline.config import PARENT_VARIABLE
from grao_pipeline.errors import StageFailure
from grao_pipeline.rounds.chain import Task
from grao_pipeline.storage.directory import Directory


@dataclass(frozen=True)
class Receipt:
    """What a finished task took. Kept beside its output, so that every run that reuses it can show it."""

    seconds: float
    summary: dict[str, Any]


def receipt_of(task: Task) -> Receipt | None:
    """The receipt of a finished task; None where there is none."""
    if task.out is None:
        return None
    place = Directory(task.out.parent)
    name = f"{task.out.name}.receipt.json"
    return Receipt(**json.loads(place.read(name))) if place.exists(name) else None


class Executor:
    """Runs the stages' commands one after another.

    Each is a process of its own: engines and trainers change the settings of the process they are in, and free their
    memory for certain only by ending. A stage whose parent dies stops too.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        self._notice = notice
        self.made: list[str] = []
        self.found: list[str] = []

    def __call__(self, task: Task) -> bool:
        """Make a task that is not done.

        Raises:
            StageFailure: the stage failed; its own message is on standard error.
        """
        if task.done:
            self.found.append(task.name)
            return True
        assert task.out is not None
        self._notice(f"── {task.name}")
        started = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-m", "stages.main", *task.arguments(), "--json"],
            stdout=subprocess.PIPE,
            env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
            check=False,
        )
        seconds = time.perf_counter() - started
        if process.returncode != 0:
            raise StageFailure(
                f"{task.name} failed (exit code {process.returncode}); its message is above. "
                "Run the same command again to go on from there."
            )
        summary = json.loads(process.stdout)
        if summary.get("fingerprint", task.out.name) != task.out.name:
            raise StageFailure(
                f"{task.name} did other work ({summary['fingerprint']}) than was planned ({task.out.name}): "
                "an input, a model or a reward's source file changed meanwhile. "
                f"Delete {task.out} and run the same command again."
            )
        receipt = {"seconds": round(seconds, 3), "summary": summary}
        text = json.dumps(receipt, sort_keys=True) + "\n"
        Directory(task.out.parent).write(f"{task.out.name}.receipt.json", text.encode())
        self.made.append(task.name)
        return True
