"""Stages in processes that stay through the run: forked from one that has imported the large libraries already."""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.pipeline import stage_named, stages
from grao_pipeline.processes import GRACE_SECONDS, StopSignals
from grao_pipeline.rounds.executors.base import Result, StageResources
from grao_pipeline.rounds.executors.local import LocalCommands
from grao_pipeline.worker_protocol import DONE, OUTDATED, REST, Answers, Command

ENDED, GONE = "ended", "gone"
"""In place of an answer: a worker ended while it worked on a request, or before."""


class ResidentCommands:
    """Each worker is a process that runs the commands of its stages (`Stage.worker`) until one fails. It keeps what it
    has imported, and engines and models; while another worker may load a model, its own make room. While a worker
    works, one more imports what its stages will need.

    Where the libraries have started threads when they are imported, which a fork would lose, the commands are started
    as `local` does; so are commands that load no model, until the libraries are imported.
    """

    def __init__(self) -> None:
        self._nursery = Nursery()
        self._workers: dict[str, Worker] = {}
        self._has_said = False

    def run(self, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
        stage = stage_named(arguments[0])
        if not stage.takes_accelerator and self._nursery.is_importing:  # nor does it need what is imported
            return LocalCommands().run(arguments, resources, signals)
        if not self._nursery.is_ready(signals):
            self._say_that_nothing_stays()
            return LocalCommands().run(arguments, resources, signals)
        if stage.takes_accelerator:
            self._make_room(stage.worker, signals)
        with tempfile.TemporaryFile() as stdout:
            request = Command(arguments).request()
            worker = self._idle(stage.worker)
            self._prepare_another(stage.worker)
            answer = worker.ask(request, signals, stdout.fileno())
            if answer in (OUTDATED, GONE):
                worker.close()
                worker = self._nursery.fork(stage.worker)
                answer = worker.ask(request, signals, stdout.fileno())
            if answer == DONE and stage.worker is not None:
                self._workers[stage.worker] = worker
            else:
                worker.close()
            stdout.seek(0)
            return Result(0 if answer == DONE else worker.exit_code, stdout.read())

    def close(self) -> None:
        for worker in self._workers.values():
            worker.let_end()  # all at once: Python takes long to end where much is imported
        for worker in self._workers.values():
            worker.close()
        self._nursery.close()

    def _say_that_nothing_stays(self) -> None:
        if not self._has_said:
            sys.stderr.write(
                "note: a library starts threads when it is imported, so every task has its own process, as with "
                "'executor: local': it imports and loads anew.\n"
            )
        self._has_said = True

    def _idle(self, name: str | None) -> "Worker":
        """The worker of this name, which is given away, or a new one."""
        worker = self._workers.pop(name, None) if name is not None else None
        if worker is not None and worker.has_ended:
            worker.close()
            worker = None
        return worker or self._nursery.fork(name)

    def _prepare_another(self, name: str | None) -> None:
        """While the worker of this name works, the first one that is missing imports what it will need."""
        names = dict.fromkeys(stage.worker for stage in stages() if stage.worker is not None)
        missing = next((other for other in names if other != name and other not in self._workers), None)
        if missing is not None:
            self._workers[missing] = self._nursery.fork(missing)

    def _make_room(self, worker: str | None, signals: StopSignals) -> None:
        """What the other workers hold on an accelerator is given up."""
        for name in [name for name in self._workers if name != worker and self._workers[name].has_worked]:
            if self._workers[name].ask(REST, signals) != DONE:
                self._workers.pop(name).close()


class NurseryProcess(Protocol):
    """A process that can be ended."""

    def kill(self) -> None: ...

    def wait(self) -> object: ...


def start_nursery(requests: socket.socket) -> NurseryProcess:
    """Start the process that forks, with its end of a socket."""
    number = requests.fileno()
    command = [sys.executable, "-P", "-m", "grao_pipeline.nursery", str(number)]
    return subprocess.Popen(command, pass_fds=[number], process_group=0)


class Nursery:
    """The process that forks (`grao_pipeline.nursery`), seen from here."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            self._process = start_nursery(theirs)
        self._unread = b""
        self._num_threads: int | None = None
        self._started: list[int] = []
        self.ended: dict[int, int] = {}
        """Exit codes of the processes that have ended, by process ID."""

    @property
    def is_importing(self) -> bool:
        """Whether it imports the libraries still."""
        self.read_news()
        return self._num_threads is None

    def is_ready(self, signals: StopSignals) -> bool:
        """Whether it can fork, once it has imported the libraries.

        Raises:
            Interrupted: a stop signal came.
            StageFailure: it ended.
        """

        def read_until_ready() -> Iterator[int]:
            while self._num_threads is None:
                self.read()
            yield self._num_threads

        return next(signals.interruptible(read_until_ready())) == 1

    def fork(self, name: str | None) -> "Worker":
        """A new worker, which imports what the stages of this name need.

        Raises:
            StageFailure: it ended.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.socket, [f"{name or ''}\n".encode()], [theirs.fileno()])
        while not self._started:
            self.read()
        return Worker(self, self._started.pop(), ours)

    def read_news(self) -> None:
        """Take note of the news that there is; see `read`."""
        while select.select([self.socket], [], [], 0)[0]:
            self.read()

    def read(self) -> None:
        """Wait for news, and take note of it.

        Raises:
            StageFailure: it ended.
        """
        data = b""
        with suppress(ConnectionResetError):
            data = self.socket.recv(4096)
        if not data:
            raise StageFailure(
                "The process that starts the stages ended (killed, or out of memory). What was finished is kept: run "
                "the same command again, or with 'executor: local'."
            )
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            kind, *numbers = line.decode().split()
            if kind == "threads":
                self._num_threads = int(numbers[0])
            elif kind == "started":
                self._started.append(int(numbers[0]))
            else:
                self.ended[int(numbers[0])] = int(numbers[1])

    def close(self) -> None:
        """End it. It has nothing to lose, and its children have ended."""
        self.socket.close()
        self._process.kill()
        self._process.wait()


class Worker:
    """A process that runs commands (`grao_pipeline.worker`), seen from here."""

    def __init__(self, nursery: Nursery, pid: int, connection: socket.socket) -> None:
        self._nursery = nursery
        self._pid = pid
        self._socket = connection
        self.has_worked = False
        """Whether it was ever asked: otherwise it holds nothing."""

    @property
    def has_ended(self) -> bool:
        """Whether it ended between two commands."""
        self._nursery.read_news()
        return self._pid in self._nursery.ended

    @property
    def exit_code(self) -> int:
        """That of a worker that has ended, as `subprocess` counts it."""
        return self._nursery.ended.get(self._pid, -signal.SIGKILL)

    def ask(self, request: bytes, signals: StopSignals, *files: int) -> str:
        """Its answer to a request; `ENDED` where it ended while it worked on it, and `GONE` where before.

        Raises:
            Interrupted: a stop signal came; it was asked once to stop, and waited for.
            StageFailure: the process that forked it ended.
        """
        self.has_worked = True
        with suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._socket, [request], files)
        try:
            return next(signals.interruptible(self._answers()))
        except Interrupted:
            self._send(signal.SIGTERM)
            self.close()
            raise
        except StageFailure:
            self.close()
            raise

    def let_end(self) -> None:
        """Ask it to end: at once between two commands. Does not wait."""
        self._socket.close()

    def close(self) -> None:
        """Let it end, for certain after a while."""
        self.let_end()
        if not self._ends_within(GRACE_SECONDS):
            self._send(signal.SIGKILL)
            self._ends_within(GRACE_SECONDS)

    def _answers(self) -> Iterator[str]:
        sockets, answers = [self._socket, self._nursery.socket], Answers()
        while self._pid not in self._nursery.ended:
            readable, _, _ = select.select(sockets, [], [])
            if self._nursery.socket in readable:
                self._nursery.read()
            if self._socket in readable:
                data = b""
                with suppress(ConnectionResetError):
                    data = self._socket.recv(4096)
                if not data:
                    sockets.remove(self._socket)  # it is about to end
                answers.add(data)
                if answers.last is not None:
                    yield answers.last
        yield ENDED if answers.has_begun else GONE

    def _ends_within(self, seconds: float) -> bool:
        """Whether it has ended, after waiting for that; and for the process that forked it where that has."""
        end = time.monotonic() + seconds
        with suppress(StageFailure):
            while self._pid not in self._nursery.ended:
                if not select.select([self._nursery.socket], [], [], max(0.0, end - time.monotonic()))[0]:
                    return False
                self._nursery.read()
        return True

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, number)
