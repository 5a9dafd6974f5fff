"""Commands as child processes."""

import os
import subprocess
import sys
from collections.abc import Iterator

from grao_pipeline.errors import Interrupted
from grao_pipeline.processes import GRACE_SECONDS, PARENT_VARIABLE, StopSignals
from grao_pipeline.rounds.executors.base import Result, StageResources


def start_stage(arguments: list[str], stdout: int, stderr: int | None = None) -> "subprocess.Popen[bytes]":
    """Start `grao ARGUMENTS`. It stops when this process dies; a Ctrl-C in the terminal reaches this process alone."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "grao_pipeline", *arguments],
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
        process_group=0,
    )


def stop_stage(process: "subprocess.Popen[bytes]") -> None:
    """Ask once, wait, then insist."""
    process.terminate()
    try:
        process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


class LocalCommands:
    """Each command is a process of its own: engines and trainers change the settings of the process they are in, and
    free their memory for certain only by ending."""

    def run(self, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
        process: subprocess.Popen[bytes] | None = None

        def outputs() -> Iterator[Result]:
            nonlocal process
            process = start_stage(arguments, subprocess.PIPE)
            stdout, _ = process.communicate()
            yield Result(process.returncode, stdout)

        try:
            return next(signals.interruptible(outputs()))
        except Interrupted:
            if process is not None:
                stop_stage(process)
            raise

    def close(self) -> None:
        pass
