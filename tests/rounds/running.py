"""`grao rounds run`, in a separate process as a user runs it, or in this one where the loop is the subject."""

import sys
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.executors.base import Result, StageResources
from grao_pipeline.rounds.executors.resident import ResidentCommands
from tests import tiny


def command(config: Path) -> list[str]:
    return [sys.executable, "-m", "grao_pipeline", "rounds", "run", str(config)]


def run_here(_: ResidentCommands, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
    """A stage's command without a separate process."""
    result = tiny.grao(*arguments)
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return Result(result.exit_code, result.stdout.encode())


def run(config: Path) -> dict[str, Any]:
    """The summary of a run that must succeed, its stages in this process: none of them waits for imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResidentCommands, "run", run_here)
        return tiny.grao_json("rounds", "run", config)
