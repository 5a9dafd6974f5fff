"""Trainings in separate processes, one or several ranks, stopped when a test says so."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.commands import Command

# One thread, so that trainings round alike. The models are loaded without a thread pool.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DEACTIVATE_ASYNC_LOAD": "1"}
TIMINGS = {"seconds", "tokens_per_second"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


class Training:
    """`grao train` on one rank or several, in processes that start in a moment (tests/commands.py).

    Args:
        launcher: start interpreters instead: what precedes `-m grao_pipeline`, e.g. `TORCHRUN`.

    Attributes:
        returncode, stdout, stderr: once it has ended.
    """

    def __init__(
        self,
        ranks: int,
        *arguments: object,
        launcher: list[str] | None = None,
        environment: dict[str, str] = ENVIRONMENT,
    ) -> None:
        command = ["train", *map(str, arguments), "--device", "cpu", "--json"]
        self._process: Command | subprocess.Popen[str]
        if launcher is None and environment is ENVIRONMENT:
            self._process = Command(*command, ranks=ranks, environment=environment)
        else:
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            interpreter = launcher or [sys.executable]
            self._process = subprocess.Popen([*interpreter, "-m", "grao_pipeline", *command], env=environment, **pipes)
        self.returncode: int | None = None
        self.stdout = self.stderr = ""

    def stop_when(self, reached: Callable[[], bool], number: signal.Signals = signal.SIGTERM) -> "Training":
        """Send a signal as soon as that is so, and wait for the end."""
        self._wait(reached)
        self._process.send_signal(number)
        return self.end()

    def kill_when(self, reached: Callable[[], bool]) -> "Training":
        """SIGKILL to all its processes, those that the launcher started first, as soon as that is so."""
        self._wait(reached)
        started = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for process in [*map(int, started), self._process.pid]:
            os.kill(process, signal.SIGKILL)
        return self.end()

    def _wait(self, reached: Callable[[], bool]) -> None:
        try:
            while not reached() and self._process.poll() is None:
                time.sleep(0.0005)
        except BaseException:
            self._process.kill()
            self.end()
            raise

    def end(self) -> "Training":
        """Wait for the end."""
        self.stdout, self.stderr = self._process.communicate()
        self.returncode = self._process.returncode
        return self

    def summary(self) -> dict[str, Any]:
        """The summary of a training that must succeed; printed once, whatever the number of ranks."""
        self.end()
        assert self.returncode == 0, self.stderr
        made: dict[str, Any] = json.loads(self.stdout)
        return made


def metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl of a training that has ended."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def steps_logged(out: Path) -> int:
    """Whole lines of metrics.jsonl while it is being written; 0 where there is no file."""
    path = out / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def timeless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What two trainings have in common that compute the same."""
    return [{name: value for name, value in record.items() if name not in TIMINGS} for record in records]


def of_40_steps(model: Path) -> list[object]:
    """Options of a training of the ten groups: 5 steps an epoch."""
    return ["--model", model, "--allow-off-policy", "--groups-per-step", 2, "--epochs", 8, "--learning-rate", 1e-3]
