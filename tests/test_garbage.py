"""A process that ends with its command never looks for garbage in what it imported; others do."""

import gc
import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from grao_pipeline.cli.main import main
from grao_pipeline.testing.tables import write_groups

# DuckDB complains at the end of a process about what it made and nobody freed.
REWARD = """
import gc
import duckdb

def frozen(completions, **_):
    duckdb.connect().execute("select 1").fetchall()
    return [float(gc.get_freeze_count())] * len(completions)
"""


def score(folder: Path) -> list[str]:
    folder.mkdir()
    (folder / "reward.py").write_text(REWARD)
    groups = write_groups(folder / "groups", {"What is 6 · 7?": ["42", "41"]}, reference=None)
    return ["score", groups, str(folder / "scores"), "--reward", f"{folder / 'reward.py'}:frozen", "--json"]


def test_a_command_keeps_what_it_imported_and_frees_what_its_users_code_made(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "grao_pipeline", *score(tmp_path / "a")]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(process.stdout)["mean_reward"] > 10_000  # objects
    assert "leaked" not in process.stderr


def test_a_process_that_goes_on_after_its_command_may_free_everything(tmp_path: Path) -> None:
    before = gc.get_freeze_count()
    result = CliRunner().invoke(main, score(tmp_path / "b"))
    assert json.loads(result.stdout)["mean_reward"] <= before  # those that nobody needs any more are not counted
    assert gc.get_freeze_count() <= before
