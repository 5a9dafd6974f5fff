"""`grao inspect` describes tables, models and evaluations by what is in them."""

from pathlib import Path

import polars as pl
import pytest

from tests import tiny


def test_a_groups_table_is_described_by_its_counts_and_distributions(tmp_path: Path) -> None:
    rows = [
        tiny.group_row("one", ["a", "b"], token_ids=[[5, 2], [5, 6, 7, 2]]),
        tiny.group_row("two", ["a", "b"], reference=None, token_ids=[[5, 6, 2], [5, 6, 7]]),
    ]
    rows[1]["finish_reasons"] = ["stop", "length"]
    inspection = tiny.grao_json("inspect", tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=1))
    assert inspection["kind"] == "groups"
    assert inspection["counts"]["rows"] == 2
    assert inspection["counts"]["parts"] == 2
    assert inspection["counts"]["samples"] == 4
    assert inspection["counts"]["references"] == 1
    assert inspection["counts"]["finish_reasons"] == {"length": 1, "stop": 3}
    lengths = inspection["distributions"]["completion_tokens"]  # 2, 4, 3, 3
    assert (lengths["min"], lengths["mean"], lengths["max"]) == (2, 3, 4)
    assert inspection["distributions"]["mean_logprob"]["mean"] == -1.0
    assert len(inspection["examples"]) == 2
    assert "column" not in inspection["columns"]
    assert inspection["columns"]["group_id"][0] == "string"


def test_references_are_counted_as_generate_counts_them(tmp_path: Path) -> None:
    """One is too long for the model: it has a text and no tokens."""
    rows = [tiny.group_row("one", ["a"]), tiny.group_row("two", ["a"]), tiny.group_row("three", ["a"], reference=None)]
    rows[1]["reference_token_ids"] = None
    counts = tiny.grao_json("inspect", tiny.write_table(tmp_path / "groups", "groups", rows))["counts"]
    assert (counts["references"], counts["references_without_tokens"]) == (2, 1)


def test_rewards_advantages_and_nulls_are_counted(tmp_path: Path) -> None:
    scores = [
        {"group_id": "a", "rewards": [1.0, None], "reference_reward": 0.5, "statuses": ["ok", "error"], "details": None}
    ]
    inspection = tiny.grao_json("inspect", tiny.write_table(tmp_path / "scores", "scores", scores))
    assert inspection["counts"]["statuses"] == {"error": 1, "ok": 1}
    assert inspection["distributions"]["rewards"]["nulls"] == 1
    advantages = [
        {
            "group_id": name,
            "rewards": [1.0, 1.0],
            "advantages": values,
            "reference_advantage": None,
            "reward_mean": 1.0,
            "reward_std": 0.0 if values[0] is None else 0.5,
            "token_weights": None,
        }
        for name, values in (("a", [None, None]), ("b", [1.0, -1.0]))
    ]
    inspection = tiny.grao_json("inspect", tiny.write_table(tmp_path / "advantages", "advantages", advantages))
    assert inspection["counts"]["trained_samples"] == 2
    assert inspection["counts"]["zero_variance_groups"] == 1


def test_a_model_is_described_by_its_config_and_fingerprint(model: Path) -> None:
    from grao_pipeline.fingerprints import model_fingerprint

    inspection = tiny.grao_json("inspect", model)
    assert inspection["kind"] == "model"
    assert inspection["counts"]["hidden_size"] == 64
    assert inspection["provenance"]["fingerprint"] == model_fingerprint(model)


def test_a_foreign_table_is_recognized_by_its_columns(tmp_path: Path) -> None:
    rows = [{"group_id": "a", "rewards": [1.0, 0.0], "statuses": ["ok", "ok"]}]
    pl.DataFrame(rows).write_parquet(tmp_path / "mine.parquet")
    inspection = tiny.grao_json("inspect", tmp_path / "mine.parquet")
    assert inspection["kind"] == "scores"
    assert inspection["provenance"]["details"] == {"foreign": True}
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "other.parquet")
    result = tiny.grao("inspect", tmp_path / "other.parquet")
    assert result.exit_code == 1
    assert "has the columns x" in result.stderr


@pytest.mark.parametrize("examples", [0, 1])
def test_as_many_rows_are_shown_as_requested(groups: str, examples: int) -> None:
    shown = tiny.grao("inspect", groups, "--examples", examples).stdout
    assert shown.count("\nrow ") == examples
    assert "completion_tokens" in shown
