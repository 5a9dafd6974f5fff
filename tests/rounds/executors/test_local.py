"""Stages as separate processes of the rounds (`executor: local`)."""

import os
import signal
from pathlib import Path

import pytest

from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.executors.base import ANY_MACHINE
from grao_pipeline.rounds.executors.local import LocalCommands
from tests import tiny

REWARD = """
import os, signal, time
from pathlib import Path

def reward(completions, survivor):
    pid = os.fork()  # as a pool of processes does
    if pid == 0:
        time.sleep(120)
        Path(survivor).write_text("ended")
        os._exit(0)
    Path(survivor).write_text(str(pid))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_the_end_of_a_killed_stage_is_seen_while_a_process_that_it_forked_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forking.py").write_text(REWARD)
    monkeypatch.chdir(tmp_path)
    groups = tiny.write_table(tmp_path / "groups", "groups", [tiny.group_row("0", ["a", "b"])])
    survivor = tmp_path / "survivor"
    given = ["--reward", "forking:reward", "--reward-arg", f"survivor={survivor}"]
    with StopSignals() as signals:
        result = LocalCommands().run(["score", str(groups), str(tmp_path / "out"), *given], ANY_MACHINE, signals)
    assert result.exit_code == -signal.SIGKILL
    os.kill(int(survivor.read_text()), signal.SIGKILL)  # it still ran


@pytest.mark.slow
def test_the_output_and_the_exit_code_of_a_stage_are_its_own() -> None:
    with StopSignals() as signals:
        version = LocalCommands().run(["--version"], ANY_MACHINE, signals)
        unknown = LocalCommands().run(["no-such-stage"], ANY_MACHINE, signals)
    assert (version.exit_code, version.stdout.split()[:1]) == (0, [b"grao,"])
    assert (unknown.exit_code, unknown.stdout) == (2, b"")
