"""Stages forked from one process: real processes, signals and deaths."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.executors.base import ANY_MACHINE
from grao_pipeline.rounds.executors.resident import ResidentCommands
from grao_pipeline.testing import write_groups

SLOW_REWARD = """
import os, pathlib, time

def slow(completions):
    pathlib.Path(os.environ["STAGE_PID"]).write_text(str(os.getpid()))
    time.sleep(60)
    return [0.0 for _ in completions]
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_groups(tmp_path_factory.mktemp("groups") / "table", {"Ask.": ["one", "three"]})


def state_of(pid: int) -> list[str]:
    """The state of a process and its parent's ID, e.g. `["S", "12"]`; `["Z", "1"]` once it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except FileNotFoundError:
        return ["Z", "1"]


@pytest.mark.slow
def test_commands_are_forked_one_after_another_and_may_fail(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STAGE_PID", str(tmp_path / "pid"))
    (tmp_path / "slow_reward.py").write_text(SLOW_REWARD)
    commands, signals = ResidentCommands(), StopSignals()
    with signals:
        scored = ["score", table, str(tmp_path / "scores"), "--reward", "length", "--json"]
        result = commands.run([*scored, "--reward-arg", "target=3"], ANY_MACHINE, signals)
        assert result.exit_code == 0
        assert b'"samples": 2' in result.stdout
        assert commands.run(["score", table], ANY_MACHINE, signals).exit_code == 2
        assert "Missing argument 'OUT'" in capfd.readouterr().err

        waiting = ["score", table, str(tmp_path / "slow"), "--reward", "slow_reward:slow", "--json"]
        pid = tmp_path / "pid"
        threading.Thread(target=_when_written, args=(pid, os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Interrupted, match="SIGTERM"):
            commands.run(waiting, ANY_MACHINE, signals)
        assert state_of(int(pid.read_text()))[0] == "Z"
    commands.close()


@pytest.mark.slow
def test_a_killed_stage_has_failed_and_one_without_the_forking_process_stops(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STAGE_PID", str(tmp_path / "pid"))
    (tmp_path / "slow_reward.py").write_text(SLOW_REWARD)
    commands, signals, pid = ResidentCommands(), StopSignals(), tmp_path / "pid"
    waiting = ["score", table, str(tmp_path / "out"), "--reward", "slow_reward:slow"]
    threading.Thread(target=_when_written, args=(pid, 0, signal.SIGKILL)).start()
    assert commands.run(waiting, ANY_MACHINE, signals).exit_code == -signal.SIGKILL

    pid.unlink()
    threading.Thread(target=_when_written, args=(pid, -1, signal.SIGKILL)).start()
    with pytest.raises(StageFailure, match="The process that starts the stages ended"):
        commands.run(waiting, ANY_MACHINE, signals)
    end = time.monotonic() + 30
    while state_of(int(pid.read_text()))[0] != "Z" and time.monotonic() < end:
        time.sleep(0.05)
    assert state_of(int(pid.read_text()))[0] == "Z"
    commands.close()


def _when_written(pid: Path, to: int, number: signal.Signals) -> None:
    """Send a signal once the stage runs: to a process, or to the stage (0), or to the process that forked it (-1)."""
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.02)
    stage = int(pid.read_text())
    os.kill(to if to > 0 else int(state_of(stage)[1]) if to < 0 else stage, number)
