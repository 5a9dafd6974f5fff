"""Running one task: its stage's command in a separate process, and a receipt of what it took."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.options_file import write_options_file
from grao_pipeline.processes import StopSignals
from grao_pipeline.progress import Progress
from grao_pipeline.rounds.executors.base import ANY_MACHINE, Commands, StageResources
from grao_pipeline.rounds.tasks import Task
from grao_pipeline.storage.directory import Directory


@dataclass(frozen=True)
class Receipt:
    """What a finished task took, its stopped runs included. Kept next to its output for every run that reuses it."""

    seconds: float
    summary: dict[str, Any]


def receipt_of(task: Task) -> Receipt | None:
    """The receipt of a finished task; None without one."""
    if task.out is None:
        return None
    place = Directory(task.out.parent)
    name = f"{task.out.name}.receipt.json"
    return Receipt(**json.loads(place.read(name))) if place.exists(name) else None


def options_file(out: Path) -> Path:
    """Where the options of the task that makes `out` are written for its process (and for people)."""
    return out.with_name(f"{out.name}.options.json")


def spent(out: Path) -> float:
    """Seconds of the runs of a task that were stopped or failed."""
    place, name = Directory(out.parent), f"{out.name}.spent.json"
    return float(json.loads(place.read(name))["seconds"]) if place.exists(name) else 0.0


def _spend(out: Path, seconds: float) -> None:
    text = json.dumps({"seconds": round(spent(out) + seconds, 3)}) + "\n"
    Directory(out.parent).write(f"{out.name}.spent.json", text.encode())


class Runner:
    """Runs the tasks that are not done, one after another, by their commands."""

    def __init__(
        self,
        commands: Commands,
        resources: Mapping[str, StageResources],
        signals: StopSignals,
        progress: Progress,
    ) -> None:
        self._commands = commands
        self._resources = resources
        self._signals = signals
        self._progress = progress
        self.bar = progress.track("rounds", unit="tasks")
        self.made: list[str] = []
        self.found: list[str] = []

    def __call__(self, task: Task) -> bool:
        """Run a task that is not done.

        Raises:
            StageFailure: the stage failed; its own message is on standard error.
            Interrupted: a signal stopped it.
        """
        if task.done:
            self.found.append(task.name)
            self.bar.advance(1)
            return True
        assert task.inputs is not None
        assert task.out is not None
        self._progress.note(f"── {task.name}")
        started = time.perf_counter()
        resources = self._resources.get(task.stage.name, ANY_MACHINE)
        file = options_file(task.out)
        write_options_file(file, task.options, task.settings.source)
        arguments = [task.stage.name, *task.inputs, str(task.out), "--options", str(file), "--json"]
        try:
            with self._progress.paused():
                result = self._commands.run(arguments, resources, self._signals)
        except Interrupted as stop:
            _spend(task.out, time.perf_counter() - started)
            raise Interrupted(
                f"{stop} The stage was {task.name}; what it had finished is kept. Run the same command again to resume."
            ) from None
        seconds = time.perf_counter() - started
        if result.exit_code != 0:
            _spend(task.out, seconds)
            raise StageFailure(
                f"{task.name} failed (exit code {result.exit_code}); its message is above. "
                "Run the same command again to resume from there."
            )
        summary = json.loads(result.stdout)
        if summary.get("fingerprint", task.out.name) != task.out.name:
            raise StageFailure(
                f"{task.name} wrote {summary['fingerprint']}, and the plan was {task.out.name}: an input, a model or "
                f"a reward's source file changed meanwhile. Delete {task.out} and run the same command again."
            )
        receipt = {"seconds": round(seconds + spent(task.out), 3), "summary": summary}
        for note in summary.get("notes", []):
            self._progress.note(f"note: {note}")
        text = json.dumps(receipt, sort_keys=True) + "\n"
        Directory(task.out.parent).write(f"{task.out.name}.receipt.json", text.encode())
        self.made.append(task.name)
        self.bar.advance(1)
        return True
