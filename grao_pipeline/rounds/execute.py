"""Running one task: its stage's command in a separate process, and a receipt of what it took."""

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.models.stored import working_copy
from grao_pipeline.options import StageOptions
from grao_pipeline.options_file import write_options_file
from grao_pipeline.processes import StopSignals
from grao_pipeline.progress import Progress
from grao_pipeline.rounds.executors.base import ANY_MACHINE, Commands, Result, StageResources
from grao_pipeline.rounds.failures import TaskFailure
from grao_pipeline.rounds.lane import Lane
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
    """Runs the tasks that are not done by their commands: one after another, and those in the background in a lane,
    from the moment when another task runs or needs them.

    Args:
        lane: for the tasks in the background; without one they run like all others.
    """

    def __init__(
        self,
        commands: Commands,
        resources: Mapping[str, StageResources],
        signals: StopSignals,
        progress: Progress,
        num_tasks: int | None = None,
        lane: Lane | None = None,
    ) -> None:
        self._commands = commands
        self._resources = resources
        self._signals = signals
        self._progress = progress
        self._receipts = Receipts(progress)
        self._lane = lane
        self._queued: list[Task] = []
        self._sent: list[Task] = []
        self._told: set[tuple[str, str]] = set()
        self._when_made: dict[str, list[Callable[[], None]]] = {}
        self._failures: dict[str, TaskFailure] = {}
        self.bar = progress.track("rounds", num_tasks, "tasks")
        self.made: list[str] = []
        self.found: list[str] = []

    def __call__(self, task: Task) -> bool:
        """Run a task that is not done, or put it into the background.

        Raises:
            TaskFailure: the stage failed, now or when another variant asked for it; its own message is on standard
                error.
            Interrupted: a signal stopped it.
        """
        if str(task.out) in self._failures:
            raise self._failures[str(task.out)]
        if task.done:
            self.found.append(task.name)
            self.bar.advance(1)
            return True
        if task.in_background and self._lane is not None:
            self._queued.append(task)
            return True
        self._wait_for(task.reads)
        self._send_queued(task)
        arguments = self._begin(task)
        started = time.perf_counter()
        try:
            with self._progress.paused():
                result = self._commands.run(arguments, self._resources_of(task), self._signals)
        except Interrupted as stop:
            self._receipts.spend(task, time.perf_counter() - started)
            raise _interrupted(task, stop) from None
        self._end(task, result, time.perf_counter() - started)
        return True

    def when_made(self, task: Task, call: Callable[[], None]) -> None:
        """Call as soon as the output of a task is there: at once, unless the task is in the background."""
        if task.out is not None and any(other.out == task.out for other in (*self._queued, *self._sent)):
            self._when_made.setdefault(str(task.out), []).append(call)
        else:
            call()

    def finish(self) -> None:
        """Wait for what is in the background.

        Raises:
            StageFailure, Interrupted: as for other tasks.
        """
        self._wait_for([str(task.out) for task in (*self._queued, *self._sent)])

    def _send_queued(self, running: Task | None) -> None:
        assert self._lane is not None or not self._queued
        for task in self._queued:
            meanwhile = f" (while {running.name} runs)" if running is not None else ""
            arguments = self._begin(task, meanwhile)
            if self._lane is not None:
                self._lane.send(arguments, self._resources_of(task))
        self._sent += self._queued
        self._queued = []

    def _wait_for(self, places: "list[str] | tuple[str, ...]") -> None:
        """Wait until no task in the background has one of these outputs still to make."""
        if any(str(task.out) in places for task in self._queued):
            self._send_queued(None)
        while self._lane is not None and any(str(task.out) in places for task in self._sent):
            task = self._sent[0]
            try:
                with self._progress.paused():
                    answer = self._lane.answer(self._signals)
            except Interrupted as stop:
                raise _interrupted(task, stop) from None
            self._sent.pop(0)
            try:
                self._end(task, answer.result, answer.seconds)
            except TaskFailure as failure:  # it has ended the lane, on which other variants' tasks wait
                raise StageFailure(str(failure)) from None
            for call in self._when_made.pop(str(task.out), []):
                call()

    def _tell(self, task: Task, notes: "list[str]") -> None:
        """The notes of a task; of those that differ from an earlier round's in their numbers alone, their number."""
        kinds = [(task.stage.name, re.sub(r"[\d.,]+", "", note)) for note in notes]
        new = [note for note, kind in zip(notes, kinds, strict=True) if kind not in self._told]
        self._told.update(kinds)
        for note in new:
            self._progress.note(f"note: {note}")
        if len(new) < len(notes):
            self._progress.note(f"note: {len(notes) - len(new)} more as in an earlier stage; grao report shows all")

    def _resources_of(self, task: Task) -> StageResources:
        return self._with_resources(task)[0]

    def _with_resources(self, task: Task) -> tuple[StageResources, StageOptions]:
        return with_resources(task, self._resources.get(task.stage.name, ANY_MACHINE))

    def _begin(self, task: Task, meanwhile: str = "") -> list[str]:
        """Say that a task runs; the arguments of its command."""
        assert task.inputs is not None
        assert task.out is not None
        self._progress.note(f"── {task.name}{meanwhile}")
        file = options_file(task.out)
        write_options_file(file, self._with_resources(task)[1], task.settings.source)
        return [task.stage.name, *task.inputs, str(task.out), "--options", str(file), "--json"]

    def _end(self, task: Task, result: Result, seconds: float) -> None:
        """Take note of a task that has run.

        Raises:
            TaskFailure: it failed.
            StageFailure: it made something else.
        """
        assert task.out is not None
        if result.exit_code != 0:
            self._receipts.spend(task, seconds)
            failure = self._failures[str(task.out)] = TaskFailure(
                f"{task.name} failed (exit code {result.exit_code}); its message is above. Change what it names, and "
                "run the same command again: it resumes from there."
            )
            raise failure
        summary = json.loads(result.stdout)
        if summary.get("fingerprint", task.out.name) != task.out.name:
            raise StageFailure(
                f"{task.name} wrote {summary['fingerprint']}, and the plan was {task.out.name}: an input, a model or "
                f"a reward's source file changed meanwhile. Delete {task.out} and run the same command again."
            )
        self._tell(task, summary.get("notes", []))
        self._receipts.write(task, seconds, summary)
        self.made.append(task.name)
        self.bar.advance(1)


def _interrupted(task: Task, stop: Interrupted) -> Interrupted:
    return Interrupted(
        f"{stop} The stage was {task.name}; what it had finished is kept. Run the same command again to resume."
    )
