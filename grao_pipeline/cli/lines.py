"""Progress as lines on standard error: in a pipe, in a log file, under `grao rounds run`."""

import sys
import time
from threading import Timer
from typing import Literal

from grao_pipeline.cli.task_state import TaskState
from grao_pipeline.cli.terminal import visible
from grao_pipeline.progress import Bar, Fact, Progress

Level = Literal["debug", "info", "warning"]
LINE_SECONDS = 30.0
"""A task in a log file is mentioned at least this often while it advances."""
PHASE_SECONDS = 0.5
"""A phase that only takes time, such as loading a model, is mentioned once it takes this long without another line."""


class LineProgress(Progress):
    """Prints lines.

    Args:
        level: `warning` prints warnings alone.
        phase_seconds, line_seconds: see PHASE_SECONDS, LINE_SECONDS.
    """

    def __init__(self, level: Level, phase_seconds: float = PHASE_SECONDS, line_seconds: float = LINE_SECONDS) -> None:
        self.level = level
        self.phase_seconds = phase_seconds
        self.line_seconds = line_seconds

    def note(self, message: str) -> None:
        if self.level != "warning":
            print_line(message)

    def warn(self, message: str) -> None:
        print_line(message)

    def track(self, what: str, total: float | None = None, unit: str = "", initial: float = 0) -> Bar:
        if self.level == "warning":
            return Bar()
        return LineBar(TaskState(what, total, unit, initial), self.phase_seconds, self.line_seconds)


class LineBar(Bar):
    """A task in a log file: its own log lines, and one of ours where it has none for a while."""

    def __init__(self, state: TaskState, phase_seconds: float, line_seconds: float) -> None:
        self._state = state
        self._line_seconds = line_seconds
        self._last_line = time.monotonic()
        self._timer = Timer(phase_seconds, self._mention) if not state.unit else None

    def __enter__(self) -> "LineBar":
        self._state.start()
        self._last_line = time.monotonic()
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()  # a daemon thread that wakes while the interpreter shuts down can abort the process

    def advance(self, num: float = 1, **facts: Fact) -> None:
        self._state.advance(num, facts)
        if time.monotonic() - self._last_line >= self._line_seconds:
            self.log(f"{self._state.what}: {self._state}")

    def log(self, message: str) -> None:
        print_line(message)
        self._last_line = time.monotonic()

    def _mention(self) -> None:
        if _Printed.newest <= self._last_line:
            print_line(f"{self._state.what} …")


class _Printed:
    newest = 0.0
    """When the newest line of this process was printed."""


def print_line(message: str) -> None:
    """One line on standard error, wherever that goes at this moment."""
    _Printed.newest = time.monotonic()
    sys.stderr.write(f"{visible(message)}\n")
    sys.stderr.flush()
