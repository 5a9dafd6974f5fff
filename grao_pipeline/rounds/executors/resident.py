"""Stages as processes that start in a moment: forked from one that has imported the large libraries already."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress

from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.processes import GRACE_SECONDS, StopSignals
from grao_pipeline.rounds.executors.base import Result, StageResources
from grao_pipeline.rounds.executors.local import LocalCommands


class ResidentCommands:
    """Each command is a separate process, a fork of one that stays through the run.

    Where the libraries have started threads when they are imported, which a fork would lose, the commands are started
    as `local` does.
    """

    def __init__(self) -> None:
        self._nursery: _Nursery | None = None

    def run(self, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
        if self._nursery is None:
            self._nursery = _Nursery()
        if not self._nursery.is_ready(signals):
            return LocalCommands().run(arguments, resources, signals)
        with tempfile.TemporaryFile() as stdout:
            stage = self._nursery.start(arguments, stdout.fileno())
            try:
                exit_code = next(signals.interruptible(self._nursery.answers()))
            except Interrupted:
                self._nursery.stop(stage)
                raise
            stdout.seek(0)
            return Result(exit_code, stdout.read())

    def close(self) -> None:
        if self._nursery is not None:
            self._nursery.close()


class _Nursery:
    """The process that forks, seen from here."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "grao_pipeline.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        self._unread = b""
        self._num_threads: int | None = None

    def is_ready(self, signals: StopSignals) -> bool:
        """Whether it can fork, once it has imported the libraries.

        Raises:
            Interrupted: a stop signal came.
        """
        if self._num_threads is None:
            self._num_threads = next(signals.interruptible(self.answers()))
        return self._num_threads == 1

    def start(self, arguments: list[str], stdout: int) -> int:
        """Start a command; its process ID. The next answer is its exit code."""
        socket.send_fds(self._socket, [json.dumps(arguments).encode()], [stdout])
        return next(self.answers())

    def stop(self, stage: int) -> None:
        """Ask a command once, wait, then insist."""
        self._socket.settimeout(GRACE_SECONDS)
        with suppress(ProcessLookupError):
            os.kill(stage, signal.SIGTERM)
            try:
                next(self.answers())
            except TimeoutError:
                os.kill(stage, signal.SIGKILL)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def answers(self) -> Iterator[int]:
        """The numbers that it writes, one per line.

        Raises:
            StageFailure: it ended.
        """
        while True:
            while b"\n" not in self._unread:
                data = self._socket.recv(4096)
                if not data:
                    raise StageFailure(
                        "The process that starts the stages ended (killed, or out of memory). What was finished is "
                        "kept: run the same command again, or with 'executor: local'."
                    )
                self._unread += data
            line, _, self._unread = self._unread.partition(b"\n")
            yield int(line)
