"""A second process that runs tasks of the rounds, one after another, while this one trains."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from grao_pipeline.children import PARENT_VARIABLE, stop_child
from grao_pipeline.errors import StageFailure
from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.executors.base import Result, StageResources


@dataclass(frozen=True)
class Answer:
    """How a command of a lane ended."""

    result: Result
    seconds: float


class Lane:
    """Runs commands in the order in which they are sent, with its own executor; `rounds/lane_process.py` is its other
    end. It starts with the first command, and ends with the first one that fails or with this process.

    Args:
        executor: the run's, e.g. `resident`.
    """

    def __init__(self, executor: str) -> None:
        self._executor = executor
        self._process: subprocess.Popen[bytes] | None = None
        self._unanswered = 0

    def send(self, arguments: list[str], resources: StageResources) -> None:
        """Let `grao ARGUMENTS` be run after the commands that were sent before. Does not wait."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "grao_pipeline.rounds.lane_process", self._executor],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # A bar of its commands would be drawn over ours: they print lines.
                env={**os.environ, PARENT_VARIABLE: str(os.getpid()), "TERM": "dumb"},
                process_group=0,
            )
        assert self._process.stdin is not None
        request = json.dumps({"arguments": arguments, "resources": resources.model_dump()})
        try:
            self._process.stdin.write(f"{request}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; the next answer says so
        self._unanswered += 1

    def answer(self, signals: StopSignals) -> Answer:
        """Wait for the end of the next command, in the order in which they were sent.

        Raises:
            Interrupted: a stop signal came; the command still runs.
            StageFailure: the process ended.
        """
        line = next(signals.interruptible(self._lines()))
        if not line:
            raise StageFailure(
                "The process that samples while a round trains ended (killed, or out of memory). What was finished is "
                "kept: run the same command again."
            )
        self._unanswered -= 1
        value = json.loads(line)
        return Answer(Result(value["exit_code"], value["stdout"].encode()), value["seconds"])

    def close(self) -> None:
        """End it. A command that runs is asked to stop, and waited for."""
        if self._process is None:
            return
        if self._unanswered:
            stop_child(self._process)
        else:
            self._process.communicate()

    def _lines(self) -> Iterator[bytes]:
        assert self._process is not None
        assert self._process.stdout is not None
        while True:
            yield self._process.stdout.readline()
