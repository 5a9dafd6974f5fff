"""Commands of the tests leave nothing behind."""

import os
from pathlib import Path

import pytest

from tests import tiny
from tests.commands import Command

REWARD = """
import time

def reward(completions):
    while True:
        time.sleep(1)
"""


@pytest.mark.slow
def test_a_command_ends_with_its_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that fails leaves one that may wait forever, and an interpreter waits at its end for such processes."""
    (tmp_path / "waiting.py").write_text(REWARD)
    monkeypatch.chdir(tmp_path)
    groups = tiny.write_table(tmp_path / "groups", "groups", [tiny.group_row("0", ["a", "b"])])
    command = Command("score", groups, tmp_path / "out", "--reward", "waiting:reward")
    pid = command.pid
    os.kill(pid, 0)
    del command
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
