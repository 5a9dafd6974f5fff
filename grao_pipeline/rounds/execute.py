"""Running one task: its stage's command in a separate process, and a receipt of what it took."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.models.stored import working_copy
from grao_pipeline.options import StageOptions
from grao_pipeline.options_file import write_options_file
from grao_pipeline.processes import StopSignals
from grao_pipeline.progress import Progress
from grao_pipeline.rounds.executors.base import ANY_MACHINE, Commands, StageResources
from grao_pipeline.rounds.receipts import Receipts
from grao_pipeline.rounds.tasks import Task
from grao_pipeline.storage.places import Place, Url


def options_file(out: Place) -> Path:
    """Where the options of the task that makes `out` are written for its process (and for people): next to it, or on
    this machine where it is at a URL."""
    out = working_copy(str(out)) if isinstance(out, Url) else out
    return out.with_name(f"{out.name}.options.json")


def with_resources(task: Task, resources: StageResources) -> tuple[StageResources, StageOptions]:
    """What a task gets of what its stage may have: no GPU that it would not use; and its options with the processes."""
    options = task.options
    if resources.processes is not None:
        options = options.model_copy(update={"processes": resources.processes})
    if resources.num_gpus and not task.stage.devices_of(options):
        resources = resources.model_copy(update={"num_gpus": 0.0})
    return resources, options


class Runner:
    """Runs the tasks that are not done, one after another, by their commands."""

    def __init__(
        self,
        commands: Commands,
        resources: Mapping[str, StageResources],
        signals: StopSignals,
        progress: Progress,
        num_tasks: int | None = None,
    ) -> None:
        self._commands = commands
        self._resources = resources
        self._signals = signals
        self._progress = progress
        self._receipts = Receipts(progress)
        self.bar = progress.track("rounds", num_tasks, "tasks")
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
        resources, options = with_resources(task, self._resources.get(task.stage.name, ANY_MACHINE))
        file = options_file(task.out)
        write_options_file(file, options, task.settings.source)
        arguments = [task.stage.name, *task.inputs, str(task.out), "--options", str(file), "--json"]
        try:
            with self._progress.paused():
                result = self._commands.run(arguments, resources, self._signals)
        except Interrupted as stop:
            self._receipts.spend(task, time.perf_counter() - started)
            raise Interrupted(
                f"{stop} The stage was {task.name}; what it had finished is kept. Run the same command again to resume."
            ) from None
        seconds = time.perf_counter() - started
        if result.exit_code != 0:
            self._receipts.spend(task, seconds)
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
        for note in summary.get("notes", []):
            self._progress.note(f"note: {note}")
        self._receipts.write(task, seconds, summary)
        self.made.append(task.name)
        self.bar.advance(1)
        return True
