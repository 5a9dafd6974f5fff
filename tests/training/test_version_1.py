"""A groups table that the contract's first version wrote is read, scored and trained on."""

from pathlib import Path

import pytest

from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.training.oracle import table_rows

GROUPS = Path(__file__).parents[1] / "data" / "version-1" / "groups"
"""Three prompts of `grao generate` before the contract's second version, with three samples each of a tiny model."""
NEW = ["tools", "reference_reasoning", "reasoning", "answers", "completion_masks", "completion_token_ends"]


@pytest.mark.slow
def test_a_table_of_version_1_is_read_scored_and_trained_on(tmp_path: Path, model: Path) -> None:
    groups = open_table(str(GROUPS), "groups")
    stored, rows = table_rows(GROUPS), groups.arrow().to_pylist()
    assert {name for row in stored for name in row}.isdisjoint(NEW)
    assert [[row[name] for name in NEW] for row in rows] == [[None] * len(NEW)] * 3
    for name in ("group_id", "metadata", "completions", "completion_token_ids", "completion_logprobs", "reference"):
        assert [row[name] for row in rows] == [row[name] for row in stored]
    scores, advantages = tmp_path / "scores", tmp_path / "advantages"
    tiny.grao_json("score", GROUPS, scores, "--reward", "length", "--reward-arg", "target=2")
    tiny.grao_json("advantages", GROUPS, advantages, "--scores", scores)
    assert open_table(str(advantages)).provenance.inputs["groups"] == groups.fingerprint
    summary = tiny.grao_json(
        *["train", GROUPS, advantages, tmp_path / "model", "--model", model],
        *["--allow-off-policy", "--device", "cpu", "--learning-rate", 1e-3],
    )
    assert (summary["groups_trained"], summary["steps"], summary["skipped_steps"]) == (3, 1, 0)
    assert summary["origins"][0]["tokens"] == 0  # at temperature 0.7, of which version 1 stored no log-probs


def test_inspect_describes_a_table_of_version_1() -> None:
    summary = tiny.grao_json("inspect", GROUPS)
    assert (summary["kind"], summary["counts"]["samples"]) == ("groups", 9)
    assert summary["distributions"]["completion_tokens"]["max"] == 8.0
