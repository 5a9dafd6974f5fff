"""The verb `log`: what a training or rounds have written so far → trackers, and what follows as it comes."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from grao_pipeline.errors import DamagedPart, InputError, UsageError
from grao_pipeline.plugins import load, require
from grao_pipeline.processes import StopSignals
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import read_record, write_record
from grao_pipeline.tracking.base import Tracker
from grao_pipeline.tracking.options import UNTIL_END_OF_INPUT, LogOptions
from grao_pipeline.tracking.samples import samples
from grao_pipeline.tracking.sources import Entry, TrainingLog, evaluations, training_logs
from grao_pipeline.tracking.trackers import TRACKERS

POLL_SECONDS = 0.5
SAVE_EVERY = 50
"""Steps after which the place is remembered: a follower that is killed repeats at most these."""


@dataclass
class LogSummary:
    """What was logged.

    Attributes:
        steps: by run; those that an earlier run of this command logged do not count.
        places: by tracker, what it keeps and how to look at it.
    """

    steps: dict[str, int] = field(default_factory=dict)
    trackers: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)


def check_trackers(names: list[str], option: str) -> None:
    """Refuse trackers that do not exist or whose package is not installed, before any work.

    Raises:
        UsageError: unknown name.
        MissingDependency: its package is not installed.
    """
    for name in names:
        try:
            tracker = load("tracker", name, TRACKERS)
        except UsageError as error:
            raise UsageError(error.message, option=option) from error
        if getattr(tracker, "package", ""):
            require(tracker.package)


def log_run(path: str, options: LogOptions, progress: Progress = SILENT) -> LogSummary:
    """Log the metrics of a training, or of the rounds whose folder `path` is, to trackers; each step once.

    Example:
        log_run("runs/model", LogOptions(to=["tensorboard"]))

    Raises:
        UsageError: no tracker is named, or an unknown one.
        InputError: the folder does not exist, or holds no metrics and is not followed.
        MissingDependency: the package of a tracker is not installed.
    """
    folder = Path(path)
    if not options.to:
        raise UsageError("names no tracker: give one, e.g. tensorboard.", option="to")
    if not folder.is_dir() and not options.follow:
        problem = "is not a local directory" if "://" in path or folder.exists() else "does not exist"
        raise InputError(f"{path} {problem}: name the directory of a training, or the output of rounds.")
    check_trackers(options.to, "to")
    with StopSignals() as signals, progress.track("logging") as bar:
        ending = _Ending(signals)
        while not folder.is_dir() and not ending.wait(POLL_SECONDS):
            continue
        sinks = [_Sink(name, load("tracker", name, TRACKERS)(folder, options.project), folder) for name in options.to]
        source = _Source(folder, any(sink.has_tables for sink in sinks))
        summary = LogSummary(trackers=list(options.to), places=_places(path, options))
        has_metrics = False
        while True:
            is_last = not options.follow or ending.wait(0) or source.is_finished
            for entry in source.new():
                has_metrics = True
                logged = [sink.log(entry) for sink in sinks]
                if any(logged):
                    summary.steps[entry.run] = summary.steps.get(entry.run, 0) + 1
                    bar.advance(1, step=entry.step)
            if is_last:
                break
            ending.wait(POLL_SECONDS)
        for sink in sinks:
            sink.close()
    if not has_metrics and not options.follow:
        raise InputError(f"{path} holds no metrics: neither a metrics.jsonl of a training nor evaluations of rounds.")
    return summary


def _places(path: str, options: LogOptions) -> dict[str, str]:
    """The first line of every tracker's description, with the folder and the project in question."""
    first_lines = {name: (load("tracker", name, TRACKERS).__doc__ or "").partition("\n")[0] for name in options.to}
    return {
        name: line.replace("FOLDER", path.rstrip("/")).replace("PROJECT", options.project)
        for name, line in first_lines.items()
        if line
    }


class _Ending:
    """Tells a follower to log the rest and end: a signal, or the end of its input where a training started it."""

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._event = Event()
        if os.environ.get(UNTIL_END_OF_INPUT):
            Thread(target=self._read_input, daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether to end; waits for that for some time."""
        return self._event.wait(seconds) or self._signals.poll() is not None

    def _read_input(self) -> None:
        while os.read(0, 1024):
            continue
        self._event.set()


class _Source:
    """What a folder holds, and comes to hold."""

    def __init__(self, folder: Path, with_samples: bool) -> None:
        self._folder = folder
        self._with_samples = with_samples
        self._logs: dict[str, TrainingLog] = {}
        self._whole: set[tuple[str, int]] = set()

    def new(self) -> Iterator[Entry]:
        for name, log in training_logs(self._folder).items():
            yield from self._logs.setdefault(name, log).new()
        for entry in evaluations(self._folder):
            if (entry.run, entry.step) not in self._whole:
                self._whole.add((entry.run, entry.step))
                yield entry
        for entry in samples(self._folder, self._whole) if self._with_samples else ():
            self._whole.add((entry.run, entry.step))
            yield entry

    @property
    def is_finished(self) -> bool:
        """Whether the only training of the folder has ended. Rounds end when their process says so."""
        single = self._logs.get(self._folder.resolve().name)
        return single is not None and single.is_finished


class _Sink:
    """A tracker, and the steps that it has; they are remembered in the folder."""

    def __init__(self, name: str, tracker: Tracker, folder: Path) -> None:
        self._tracker = tracker
        self._directory = Directory(folder)
        self._file = f".logged-{name.replace('/', '-').replace(':', '-')}.json"
        try:
            record = read_record(self._directory, self._file)
        except DamagedPart:
            record = None
        self._last: dict[str, int] = {} if record is None else record["steps"]
        self._unsaved = 0

    @property
    def has_tables(self) -> bool:
        return self._tracker.has_tables

    def log(self, entry: Entry) -> bool:
        """Log a step, unless the tracker has it; whether it was logged."""
        if entry.step <= self._last.get(entry.run, -1) or (entry.rows and not self.has_tables):
            return False
        if entry.rows:
            self._tracker.log_samples(entry.run, entry.step, entry.rows)
        else:
            self._tracker.log(entry.run, entry.step, entry.values)
        self._last[entry.run] = entry.step
        self._unsaved += 1
        if self._unsaved >= SAVE_EVERY:
            self._save()
        return True

    def close(self) -> None:
        self._tracker.close()
        self._save()

    def _save(self) -> None:
        if self._unsaved:
            write_record(self._directory, self._file, {"steps": self._last})
            self._unsaved = 0
