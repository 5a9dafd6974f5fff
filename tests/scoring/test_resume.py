"""`grao score` survives `kill -9`: committed parts are neither lost nor judged again."""

import os
import time
from pathlib import Path

import pytest

from tests import tiny
from tests.commands import Command

PATIENCE = 120.0
SLOW = """
import os
import time
from pathlib import Path

def reward(completions, log):
    time.sleep(float(os.environ.get("SECONDS_PER_PART", 0)))
    with Path(log).open("a") as file:
        file.write("called\\n")
    return [float(len(text)) for text in completions]
"""


def parts_of(path: Path) -> dict[str, tuple[int, int]]:
    """(inode, time of the last change) of every committed part."""
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in sorted(path.glob("part-*.parquet"))}


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [0, 1, 4])
def test_a_killed_run_resumes_and_ends_like_an_undisturbed_one(
    wanted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when `wanted` of eight parts are there: every part is judged once, except the one in progress."""
    (tmp_path / "slow_reward.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = [tiny.group_row(str(index), ["a" * index, "b"]) for index in range(8)]
    groups = tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=1)
    options = ["--reward", "slow_reward:reward", "--reward-arg", f"log={tmp_path}/calls"]
    out = tmp_path / "killed"
    command = Command("score", groups, out, *options, environment={**os.environ, "SECONDS_PER_PART": "0.4"})
    end = time.monotonic() + PATIENCE
    while len(parts_of(out)) < wanted and time.monotonic() < end:
        assert command.poll() is None
        time.sleep(0.01)
    command.kill()
    command.wait()
    committed = parts_of(out)
    assert wanted <= len(committed) < 8
    assert not (out / ".manifest.parquet").exists()

    summary = tiny.grao_json("score", groups, out, *options)
    assert (summary["parts_found"], summary["parts_made"]) == (len(committed), 8 - len(committed))
    assert {name: parts_of(out)[name] for name in committed} == committed
    assert len((tmp_path / "calls").read_text().splitlines()) in (8, 9)
    tiny.grao_json("score", groups, tmp_path / "undisturbed", *options)
    expected = {file.name: file.read_bytes() for file in (tmp_path / "undisturbed").iterdir()}
    assert {file.name: file.read_bytes() for file in out.iterdir()} == expected
