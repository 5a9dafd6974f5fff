"""`overlap: 1`: a round is sampled while the one before it trains, by the model before that; timing changes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from grao_pipeline.models.source import locate_model
from tests import tiny
from tests.rounds.running import kill_when, run
from tests.rounds.test_plan import plan, write_config
from tests.rounds.test_run import contents
from tests.training import oracle

REWARD = """
import os, time

def lengths(completions):
    time.sleep(float(os.environ["GRAO_TEST_DELAY"]))
    return [min(1.0, len(text) / 20) for text in completions]
"""


def overlapping(directory: Path, model: Path, prompts: str, **changes: Any) -> Path:
    directory.mkdir()
    reward = directory.parent / "reward.py"  # the same file for all runs: its place is not in its identity
    reward.write_text(REWARD)
    train = {"learning_rate": 1e-3, "groups_per_step": 5, "checkpoint_steps": 1}
    score = {"reward": f"{reward}:lengths"}
    return write_config(directory, model, prompts, rounds=3, overlap=1, train=train, score=score, **changes)


@pytest.mark.slow
def test_an_overlapping_run_makes_the_same_tables_whatever_its_timing(
    tmp_path: Path, model: Path, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task after another in this process; and in separate processes with slow rewards, killed while round 2 is
    sampled and round 1 trains, and run again."""
    monkeypatch.setenv("GRAO_TEST_DELAY", "0")
    swift = overlapping(tmp_path / "swift", model, prompts)
    names = list(plan(swift))
    summary = run(swift)
    assert sorted(summary["made"]) == sorted(names)
    assert run(swift)["made"] == []

    out = tmp_path / "swift" / "a run"
    models = [locate_model(str(place)).fingerprint for place in (model, out / "round-0" / "train")]
    sampled = [{row["policy"] for row in oracle.table_rows(out / f"round-{k}" / "generate")} for k in range(3)]
    assert sampled == [{models[0]}, {models[0]}, {models[1]}]  # round 2 by the model of round 0
    manifest = json.loads((out / "round-1" / "train" / "manifest.json").read_text())
    assert manifest["inputs"]["model"] == models[1]  # trained from the newest model
    assert [origin["policy"] for origin in manifest["summary"]["origins"]] == [models[0]]

    monkeypatch.setenv("GRAO_TEST_DELAY", "0.3")
    slow = overlapping(tmp_path / "slow", model, prompts)
    assert kill_when(slow, "── round-2/score-lengths (while round-1/train runs)")
    monkeypatch.setenv("GRAO_TEST_DELAY", "0")
    again = run(slow)
    assert {"round-0/train", "round-1/generate", "round-1/score-lengths", "round-1/advantages"} <= set(again["found"])
    expected, disturbed = contents(swift), contents(slow)
    assert disturbed.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert all(torch.equal(value[key], disturbed[name][key]) for key in value), name
        else:
            assert disturbed[name] == value, name


def test_the_plan_of_an_overlapping_run_is_in_order_and_a_wrong_overlap_is_refused(
    tmp_path: Path, model: Path, prompts: str
) -> None:
    config = overlapping(tmp_path / "one", model, prompts)
    names = [name for name in plan(config) if name.endswith(("generate", "train"))]
    rounds = ["round-0/generate", "round-1/generate", "round-0/train", "round-2/generate", "round-1/train"]
    assert names == [*rounds, "round-2/train"]
    config.write_text(config.read_text().replace("overlap: 1", "overlap: 2"))
    result = tiny.grao("rounds", "plan", config)
    assert result.exit_code == 2
    assert "overlap: input should be less than or equal to 1, found 2." in result.stderr
