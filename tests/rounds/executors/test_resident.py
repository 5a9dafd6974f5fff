"""Workers that stay: real processes, signals, deaths and edited code."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.loaded_code import PRECISION_SECONDS
from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.executors.base import ANY_MACHINE, Result
from grao_pipeline.rounds.executors.resident import ResidentCommands
from grao_pipeline.testing import write_groups
from tests import tiny
from tests.commands import NurseryFromHere

REWARD = """
import os, pathlib

def judge(completions):
    pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
    with pathlib.Path(__file__).with_name("pids").open("a") as file:
        print(os.getpid(), file=file)
    return [{value} for _ in completions]
"""
AND_LONGER = "# changed\n"
"""Python takes bytecode of the same second and size for that of the text on disk."""
SLOW_REWARD = """
import os, pathlib, time

def judge(completions):
    pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
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


ESTIMATOR = """
import os, pathlib
import polars as pl

def estimate(view, *, statistics):
    pathlib.Path(__file__).with_name("parent").write_text(str(os.getppid()))
    return pl.col("reward")
"""


def resident_commands() -> ResidentCommands:
    """Their process that forks starts in a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grao_pipeline.rounds.executors.resident.start_nursery", NurseryFromHere)
        return ResidentCommands()


@pytest.fixture(scope="module")
def commands() -> Iterator[ResidentCommands]:
    commands = resident_commands()
    yield commands
    commands.close()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The file of a reward; the process that judges writes its ID to the file `pid` next to it."""
    return tmp_path / f"own_reward_{tmp_path.name}.py"


class Judging:
    """Scores a table with the reward of a file; every run has another OUT."""

    def __init__(self, commands: ResidentCommands, table: str, reward: Path) -> None:
        self._commands = commands
        self._arguments = ["score", table, "--reward", f"{reward}:judge", "--no-use-cache", "--json"]
        self._folder = reward.parent
        self.num_runs = 0

    def __call__(self, *others: str) -> tuple[Result, int]:
        """How the command ended, and the ID of the process that judged."""
        self.num_runs += 1
        out = str(self._folder / f"scores-{self.num_runs}")
        with StopSignals() as signals:
            result = self._commands.run([*self._arguments, *others, out], ANY_MACHINE, signals)
        return result, int((self._folder / "pid").read_text())


def mean_reward(result: Result) -> float:
    assert result.exit_code == 0
    return float(json.loads(result.stdout)["mean_reward"])


@pytest.mark.slow
def test_while_a_worker_works_another_one_imports_what_it_will_need(
    commands: ResidentCommands, table: str, own: Path
) -> None:
    """Arrow is not among what the process has imported that forks them."""
    own.write_text(REWARD.format(value=0.5))
    pid = Judging(commands, table, own)()[1]
    forking = state_of(pid)[1]
    others = set(Path(f"/proc/{forking}/task/{forking}/children").read_text().split()) - {str(pid)}
    assert others
    end = time.monotonic() + 60
    while not all("libarrow" in Path(f"/proc/{other}/maps").read_text() for other in others):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_worker_runs_command_after_command_until_one_fails_or_its_code_changes(
    commands: ResidentCommands, table: str, own: Path
) -> None:
    own.write_text(REWARD.format(value=0.5))
    judge = Judging(commands, table, own)
    result, first = judge()
    assert mean_reward(result) == 0.5
    result, second = judge()
    assert mean_reward(result) == 0.5
    if second != first:  # the reward's file was so new that the worker could not tell
        first = judge()[1]
    assert judge()[1] == first

    result, _ = judge("--reward-arg", "unknown=1")
    assert result.exit_code == 2
    assert state_of(first)[0] == "Z"
    second = judge()[1]
    assert second != first

    own.write_text(REWARD.format(value=1.5) + AND_LONGER)
    result, third = judge()
    assert mean_reward(result) == 1.5
    assert third != second

    os.kill(third, signal.SIGKILL)  # between two commands
    assert mean_reward(judge()[0]) == 1.5


@pytest.mark.slow
def test_the_processes_of_a_stage_stay_until_one_is_gone_or_their_code_changes(
    commands: ResidentCommands, own: Path, tmp_path: Path
) -> None:
    rows = [tiny.group_row(str(index), ["a" * index, "b"]) for index in range(4)]
    table = tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=1)
    own.write_text(REWARD.format(value=0.5))
    judge, pids = Judging(commands, table, own), tmp_path / "pids"

    def two_processes(expected: float) -> set[int]:
        """The processes that judged in another run."""
        pids.unlink(missing_ok=True)
        assert mean_reward(judge("--processes", "2")[0]) == expected
        return set(map(int, pids.read_text().split()))

    two_processes(0.5)
    time.sleep(PRECISION_SECONDS)
    first = two_processes(0.5)  # the first ones may take the reward's file for one that changed since
    assert len(first) == 2
    assert two_processes(0.5) == first

    killed = min(first)
    os.kill(killed, signal.SIGKILL)  # between two commands
    second = two_processes(0.5)
    assert len(second) == 2
    assert second & first == first - {killed}

    own.write_text(REWARD.format(value=1.5) + AND_LONGER)
    third = two_processes(1.5)
    assert len(third) == 2
    assert not third & second
    assert {state_of(pid)[0] for pid in first | second} == {"Z"}

    result, _ = judge("--processes", "2", "--reward-arg", "unknown=1")
    assert result.exit_code == 2
    assert {state_of(pid)[0] for pid in third} == {"Z"}


@pytest.mark.slow
def test_a_command_that_loads_no_model_does_not_wait_for_the_libraries(table: str, tmp_path: Path, own: Path) -> None:
    """This process starts it then, and afterwards the one that has imported them."""
    own.write_text(ESTIMATOR)
    scores = str(tmp_path / "scores")
    score = ["score", table, "--reward", "length", "--reward-arg", "target=3"]
    advantages = ["advantages", table, "--scores", scores, "--estimator", f"{own}:estimate"]
    assert tiny.grao(*score, scores).exit_code == 0
    parents = []
    with closing(ResidentCommands()) as commands, StopSignals() as signals:
        for number, command in enumerate((advantages, score, advantages)):
            result = commands.run([*command, str(tmp_path / f"out-{number}")], ANY_MACHINE, signals)
            assert result.exit_code == 0
            parents.append(int((tmp_path / "parent").read_text()))
    assert parents[0] == os.getpid() != parents[2]


@pytest.mark.slow
def test_a_stop_signal_ends_the_command_and_its_worker(
    commands: ResidentCommands, table: str, own: Path, tmp_path: Path
) -> None:
    own.write_text(SLOW_REWARD)
    pid = tmp_path / "pid"
    threading.Thread(target=_when_written, args=(pid, os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Interrupted, match="SIGTERM"):
        Judging(commands, table, own)()
    assert state_of(int(pid.read_text()))[0] == "Z"


@pytest.mark.slow
def test_a_killed_stage_has_failed_and_one_without_the_forking_process_stops(
    table: str, own: Path, tmp_path: Path
) -> None:
    own.write_text(SLOW_REWARD)
    commands, pid = resident_commands(), tmp_path / "pid"
    judge = Judging(commands, table, own)
    threading.Thread(target=_when_written, args=(pid, 0, signal.SIGKILL)).start()
    assert judge()[0].exit_code == -signal.SIGKILL

    pid.unlink()
    threading.Thread(target=_when_written, args=(pid, -1, signal.SIGKILL)).start()
    with pytest.raises(StageFailure, match="The process that starts the stages ended"):
        judge()
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


@pytest.mark.slow
def test_workers_stay_on_a_machine_whose_libraries_use_all_cores(
    monkeypatch: pytest.MonkeyPatch, table: str, own: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As users have it: nothing is said of threads, and NumPy's linear algebra would start one for every core."""
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
    own.write_text(REWARD.format(value=0.5))
    with closing(ResidentCommands()) as commands:
        judge = Judging(commands, table, own)
        assert {mean_reward(judge()[0]) for _ in range(3)} == {0.5}
        assert judge()[1] == judge()[1] != os.getpid()
    assert "executor: local" not in capfd.readouterr().err
