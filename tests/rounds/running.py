"""`grao rounds run`, in a separate process as a user runs it, or in this one where the loop is the subject."""

import sys
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.executors.base import Result, StageResources
from grao_pipeline.rounds.executors.resident import ResidentCommands
from grao_pipeline.rounds.lane import Answer
from tests import tiny


def command(config: Path) -> list[str]:
    return [sys.executable, "-m", "grao_pipeline", "rounds", "run", str(config)]


def run_here(_: ResidentCommands, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
    """A stage's command without a separate process."""
    result = tiny.grao(*arguments)
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    sys.stderr.write(result.stderr if result.exit_code else "")
    return Result(result.exit_code, result.stdout.encode())


class LaneHere:
    """A lane whose commands run in this process, as soon as they are sent."""

    def __init__(self, executor: str) -> None:
        self._answers: list[Answer] = []

    def send(self, arguments: list[str], resources: StageResources) -> None:
        self._answers.append(Answer(run_here(ResidentCommands(), arguments, resources, StopSignals()), 0.0))

    def answer(self, signals: StopSignals) -> Answer:
        return self._answers.pop(0)

    def close(self) -> None:
        pass


def run(config: Path) -> dict[str, Any]:
    """The summary of a run that must succeed, its stages in this process: none of them waits for imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grao_pipeline.rounds.run.Lane", LaneHere)
        patch.setattr(ResidentCommands, "run", run_here)
        return tiny.grao_json("rounds", "run", config)
