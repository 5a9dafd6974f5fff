"""What several processes of one command tell people, as if they were one: each sends it, the one that started them
shows it. Equal lines are shown once, equal tasks are one bar, and the first error is the error of them all.

    with Relay(progress) as relay:
        start_child(["score", …], stdout, environment=relay.environment)
    if relay.error is not None:
        raise relay.error
"""

import json
import os
import select
import socket
import socketserver
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Self

from grao_pipeline import errors
from grao_pipeline.errors import GraoError, Interrupted, StoppedElsewhere, UsageError
from grao_pipeline.progress import Bar, Fact, Progress

VARIABLE = "GRAO_RELAY"
"""Environment variable with the socket of the process that shows what this one tells."""
POLL_SECONDS = 0.05
MOST_WAITING = 128
"""Processes that connect in the same moment."""
Event = list[Any]
"""Its kind, then what belongs to it."""


class RelayedProgress(Progress):
    """Sends what it is told to the process that started this one, whose socket `GRAO_RELAY` names."""

    def __init__(self, place: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        with suppress(OSError):  # without a receiver; see `send`
            self._socket.connect(place)
        os.register_at_fork(after_in_child=self._socket.close)  # an engine's process may outlive this one
        self._lock = Lock()
        self._numbers = count()

    def note(self, message: str) -> None:
        self.send(["note", message])

    def warn(self, message: str) -> None:
        self.send(["warn", message])

    def track(self, what: str, total: float | None = None, unit: str = "", initial: float = 0) -> Bar:
        return _RelayedBar(self, [next(self._numbers), what, total, unit, initial])

    def finish(self, summary: Mapping[str, object]) -> None:
        """This process has done its work."""
        self.send(["summary", summary])

    def fail(self, error: GraoError) -> None:
        """This process ends by an error."""
        names = [kind.__name__ for kind in type(error).__mro__]
        message, option = (error.message, error.option) if isinstance(error, UsageError) else (str(error), "")
        self.send(["error", names, message, option])

    def close(self) -> None:
        """Nothing more is told; the end of the process does the same."""
        self._socket.close()

    def send(self, event: Event) -> None:
        """Send an event; without a receiver it is lost, and this process is about to be stopped."""
        with self._lock, suppress(OSError):
            self._socket.sendall(json.dumps(event).encode() + b"\n")


class _RelayedBar(Bar):
    def __init__(self, progress: RelayedProgress, task: list[Any]) -> None:
        self._progress = progress
        self._task = task
        self._number = task[0]

    def __enter__(self) -> Self:
        self._progress.send(["open", *self._task])
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.send(["close", self._number])

    def advance(self, num: float = 1, **facts: Fact) -> None:
        self._progress.send(["advance", self._number, num, facts])

    def log(self, message: str) -> None:
        self._progress.send(["log", self._number, message])


class Relay:
    """Shows what other processes tell, while it is entered.

    Args:
        bars: tasks that are tracked already, by their names: what the others do counts there.
    """

    def __init__(self, progress: Progress, bars: Mapping[str, Bar] | None = None) -> None:
        self.error: GraoError | None = None
        """The first error that a process ended by; an earlier interruption gives way to it."""
        self.summaries: list[dict[str, Any]] = []
        """Of the processes that ended well, in any order."""
        self._progress = progress
        self._tasks = {what: _SharedTask(bar, is_ours=False) for what, bar in (bars or {}).items()}
        self._told: set[str] = set()
        self._lock = Lock()

    @property
    def environment(self) -> dict[str, str]:
        """For the processes whose progress is shown here."""
        return {VARIABLE: self._place}

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="grao-relay-")
        self._place = str(Path(self._directory.name, "socket"))
        relay = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                relay._follow(self.rfile)

        class Server(socketserver.ThreadingUnixStreamServer):
            request_queue_size = MOST_WAITING

        self._server = Server(self._place, Handler)
        Thread(target=self._server.serve_forever, args=[POLL_SECONDS], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until what the ended processes had sent is shown."""
        self._server.shutdown()
        while select.select([self._server], [], [], 0)[0]:  # of one that ended at once
            self._server.handle_request()
        self._server.server_close()
        self._directory.cleanup()

    def _follow(self, lines: Iterable[bytes]) -> None:
        """Show what one process tells, until it ends."""
        opened: dict[int, _SharedTask] = {}
        facts: dict[str, Fact] = {}
        for line in lines:
            if not line.endswith(b"\n"):
                break  # it was killed
            kind, *values = json.loads(line)
            with self._lock:
                self._show(kind, values, opened, facts)
        with self._lock:
            for task in opened.values():
                task.leave()

    def _show(self, kind: str, values: list[Any], opened: "dict[int, _SharedTask]", facts: dict[str, Fact]) -> None:
        if kind in ("note", "warn") and values[0] not in self._told:
            self._told.add(values[0])
            getattr(self._progress, kind)(values[0])
        elif kind == "open":
            number, what, *rest = values
            if what not in self._tasks or self._tasks[what].is_over:
                self._tasks[what] = _SharedTask(self._progress.track(what, *rest), is_ours=True)
            opened[number] = self._tasks[what]
            opened[number].join(facts)
        elif kind == "close":
            opened.pop(values[0]).leave()
        elif kind == "advance":
            facts |= values[2]
            opened[values[0]].advance(values[1])
        elif kind == "log":
            opened[values[0]].bar.log(values[1])
        elif kind == "summary":
            self.summaries.append(values[0])
        elif kind == "error" and (self.error is None or isinstance(self.error, Interrupted | StoppedElsewhere)):
            self.error = _error(*values)


class _SharedTask:
    """A task that several processes work at."""

    def __init__(self, bar: Bar, is_ours: bool) -> None:
        self.bar = bar
        self.is_over = False
        self._is_ours = is_ours
        self._num_present = 0
        self._facts: list[dict[str, Fact]] = []

    def join(self, facts: dict[str, Fact]) -> None:
        """A process has begun; `facts` are its newest ones."""
        if self._is_ours and self._num_present == 0:
            self.bar.__enter__()
        self._num_present += 1
        if not any(facts is known for known in self._facts):
            self._facts.append(facts)

    def leave(self) -> None:
        """A process has ended its share."""
        self._num_present -= 1
        if self._is_ours and self._num_present == 0:
            self.bar.__exit__(None, None, None)
            self.is_over = True

    def advance(self, num: float) -> None:
        """Numbers of several processes add up: all are counts, or rates."""
        merged: dict[str, Fact] = {}
        for facts in self._facts:
            for name, value in facts.items():
                before = merged.get(name)
                if isinstance(before, int | float) and isinstance(value, int | float):
                    merged[name] = before + value
                else:
                    merged[name] = value
        self.bar.advance(num, **merged)


def _error(names: list[str], message: str, option: str) -> GraoError:
    """The error of another process, or the nearest kind that is known here."""
    kind: type[GraoError] = next(getattr(errors, name) for name in names if hasattr(errors, name))
    return UsageError(message, option=option) if kind is UsageError else kind(message)
