"""`grao rounds run`, in a separate process as a user runs it, or in this one where the loop is the subject."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.executors.base import Result, StageResources
from grao_pipeline.rounds.lane import Answer
from tests import tiny
from tests.commands import Command


def command(config: Path) -> list[str]:
    return [sys.executable, "-m", "grao_pipeline", "rounds", "run", str(config)]


class CommandsHere:
    """The stages' commands in this process: none of them waits for imports."""

    def __init__(self, executor: str) -> None:
        pass

    def run(self, arguments: list[str], resources: StageResources, signals: StopSignals) -> Result:
        result = tiny.grao(*arguments)
        if not isinstance(result.exception, SystemExit | None):
            raise result.exception
        sys.stderr.write(result.stderr if result.exit_code else "")
        return Result(result.exit_code, result.stdout.encode())

    def close(self) -> None:
        pass


class LaneHere:
    """A lane whose commands run in this process, as soon as they are sent."""

    def __init__(self, executor: str) -> None:
        self._answers: list[Answer] = []

    def send(self, arguments: list[str], resources: StageResources) -> None:
        self._answers.append(Answer(CommandsHere("").run(arguments, resources, StopSignals()), 0.0))

    def answer(self, signals: StopSignals) -> Answer:
        return self._answers.pop(0)

    def close(self) -> None:
        pass


@contextmanager
def in_this_process() -> Iterator[None]:
    """Rounds whose stages run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grao_pipeline.rounds.loop.Lane", LaneHere)
        patch.setattr("grao_pipeline.rounds.run.make_commands", CommandsHere)
        yield


def kill_when(config: Path, text: str) -> bool:
    """Start `grao rounds run`, and `kill -9` when a text has appeared in its log; whether it did before the end. The
    stage that was running has ended, too, then.
    """
    rounds = Command("rounds", "run", config)
    has_appeared = rounds.wait_for(text)
    rounds.kill()
    rounds.wait_for_all()
    return has_appeared


def run(config: Path) -> dict[str, Any]:
    """The summary of a run that must succeed, its stages in this process."""
    with in_this_process():
        return tiny.grao_json("rounds", "run", config)
