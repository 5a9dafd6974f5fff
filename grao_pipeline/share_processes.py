"""The processes that do the shares of a stage's tasks: where residents stay (`residence.py`), so do they."""

import select
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import NamedTuple

from grao_pipeline.children import start_child
from grao_pipeline.processes import GRACE_SECONDS, StopSignals
from grao_pipeline.residence import RESIDENCE, Resident
from grao_pipeline.worker_protocol import DONE, REST, Answers, Command

NAME = "processes of the shares"


class Failure(NamedTuple):
    """Which command failed first, and how its process ended, as `subprocess` counts it. One that was killed precedes
    those that failed for want of it."""

    number: int
    code: int


class ShareProcesses(Resident):
    """Processes of this machine, each with its own devices, that run commands at the same time and end together.

    Example:
        with ShareProcesses.taken() as processes:
            failure = processes.run([(Command(["score", …]), {"CUDA_VISIBLE_DEVICES": "0"}), …], signals)
    """

    def __init__(self) -> None:
        self._processes: list[ShareProcess] = []

    @staticmethod
    @contextmanager
    def taken() -> "Iterator[ShareProcesses]":
        """Those that stayed from an earlier task, or none yet; afterwards they stay where residents do."""
        resident = RESIDENCE.take(NAME)
        processes = resident if isinstance(resident, ShareProcesses) else ShareProcesses()
        try:
            yield processes
        finally:
            RESIDENCE.leave(NAME, processes)

    def run(self, commands: Sequence[tuple[Command, Mapping[str, str]]], signals: StopSignals) -> Failure | None:
        """Run commands, each in a process that has these environment variables from its start, and wait until all have
        succeeded or one has not: that one. All processes are stopped then.

        Raises:
            Interrupted: a stop signal came; all processes are stopped.
        """
        asked = {number: self._start(command, devices) for number, (command, devices) in enumerate(commands)}
        try:
            for number, process, answer in signals.interruptible(_answers(asked)):
                if answer == DONE:
                    continue
                if answer is None and (process.has_begun or not process.has_stayed):
                    ended = [(number, process), *(other for other in asked.items() if other[1].has_hung_up)]
                    failures = [Failure(which, one.exit_code) for which, one in ended]
                    self.close()
                    return min(failures, key=lambda failure: failure.code >= 0)
                self._end([process])  # outdated, or gone since the last task
                asked[number] = self._start(*commands[number])
        except BaseException:
            self.close()
            raise
        return None

    def rest(self) -> bool:
        """Those that cannot, or have ended, make room by being closed."""
        asked = {number: process for number, process in enumerate(self._processes) if process.ask(REST)}
        rested = [process for _, process, answer in _answers(asked) if answer == DONE]
        self._end([process for process in self._processes if process not in rested])
        return True

    def close(self) -> None:
        """Stop all, and wait for that."""
        self._end(self._processes)

    def _start(self, command: Command, devices: Mapping[str, str]) -> "ShareProcess":
        """A process that has begun nothing else, and is asked for the command."""
        for process in self._processes:
            if process.is_idle and process.devices == devices and process.ask(command.request()):
                return process
        process = ShareProcess(devices, stays=RESIDENCE.is_open)
        self._processes.append(process)
        process.ask(command.request())
        return process

    def _end(self, processes: "Sequence[ShareProcess]") -> None:
        ended = list(processes)
        for process in ended:
            process.stop()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in ended:
            process.wait(deadline)
        self._processes = [process for process in self._processes if process not in ended]


class ShareProcess:
    """A process that runs commands (`grao_pipeline.worker`), seen from the one that started it.

    Attributes:
        devices: environment variables that it was started with.
        has_stayed: whether it has run a command before.
    """

    def __init__(self, devices: Mapping[str, str], stays: bool) -> None:
        self.devices = devices
        self.socket, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), *(["stay"] if stays else [])]
            self._process = start_child(
                arguments,
                subprocess.DEVNULL,
                environment=devices,
                module="grao_pipeline.worker",
                files=[theirs.fileno()],
            )
        self.has_stayed = False
        self._answers: Answers | None = None
        Thread(target=self._notice_end, daemon=True).start()

    @property
    def is_idle(self) -> bool:
        """Whether no request is unanswered."""
        return self._answers is None

    @property
    def has_begun(self) -> bool:
        """Whether it has answered at all to what it works on."""
        return self._answers is not None and self._answers.has_begun

    @property
    def has_hung_up(self) -> bool:
        """Whether it has ended, or is about to, and all that it answered has been read."""
        with suppress(OSError):
            return not self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        return False

    @property
    def exit_code(self) -> int:
        """Of a process that has ended, or is about to."""
        return self._process.wait()

    def ask(self, request: bytes) -> bool:
        """Send a request; False where it has ended, or is about to."""
        self._answers = Answers()
        with suppress(OSError):
            self.socket.sendall(request)
            return True
        return False

    def read(self) -> str | None:
        """Read what has arrived: `DONE` or `OUTDATED`, an empty text until then, None where it has ended."""
        assert self._answers is not None
        data = b""
        with suppress(OSError):
            data = self.socket.recv(4096)
        if not data:
            return None
        self._answers.add(data)
        answer = self._answers.last
        if answer == DONE:
            self._answers, self.has_stayed = None, True
        return answer or ""

    def stop(self) -> None:
        """Ask it to end: at once, or after it has saved what is finished. Does not wait."""
        if not self.is_idle:
            self._process.terminate()
        self.socket.close()

    def wait(self, deadline: float) -> None:
        """Wait for its end until a time of `time.monotonic()`, and then end it."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _notice_end(self) -> None:
        """Its socket tells that it has ended, also while a process that it left behind holds the other end."""
        self._process.wait()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


def _answers(asked: dict[int, ShareProcess]) -> Iterator[tuple[int, ShareProcess, str | None]]:
    """The number and process of each that answers, with the answer, None where it has ended, as they arrive. Those that
    are waited for are in `asked`, which may be added to.
    """
    while asked:
        readable, _, _ = select.select([process.socket for process in asked.values()], [], [])
        for number, process in list(asked.items()):
            if process.socket in readable:
                answer = process.read()
                if answer != "":
                    del asked[number]
                    yield number, process, answer
