"""`grao export`: what rows hold, what is left out and why, and what is refused. Other readers read the files."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from grao_pipeline.storage.atomic import locked_temporary
from grao_pipeline.testing import group_row, prompt_row, score_row, write_table
from tests import tiny

REWARDS: list[list[float | None]] = [[0.25, 1.0, 0.5], [0.5, 0.5, None], [0.0, 1.0, 1.0]]
"""Of three groups of three samples: the second one has equal rewards and one sample without a reward."""


def group(number: int, **columns: Any) -> dict[str, Any]:
    texts = [f"{number}a", f"{number}b", f"{number}c"]
    return {**group_row(f"question {number}", texts, f"reference {number}", answer=str(number)), **columns}


@pytest.fixture
def tables(tmp_path: Path) -> tuple[str, str]:
    """Groups and their scores."""
    rows = [group(0), group(1, rejected="rejected 1"), group(2, completions=["2a", "2b", "2b"])]
    groups = write_table(tmp_path / "groups", "groups", rows, rows_per_part=2, fingerprint="g" * 32)
    lines = [score_row(row["group_id"], rewards, 0.75) for row, rewards in zip(rows, REWARDS, strict=True)]
    scores = write_table(tmp_path / "scores", "scores", lines, rows_per_part=2, inputs={"groups": "g" * 32})
    return groups, scores


def exported(path: Path) -> list[dict[str, Any]]:
    """The rows, as DuckDB reads them."""
    rows: list[dict[str, Any]] = duckdb.sql(f"SELECT * FROM '{path}'").fetchdf().to_dict("records")
    return rows


def text(turns: Any) -> str:
    [turn] = turns
    return str(turn["content"])


def test_a_pair_is_the_best_and_the_worst_sample(tables: tuple[str, str], tmp_path: Path) -> None:
    groups, scores = tables
    out = tmp_path / "pairs.parquet"
    summary = tiny.grao_json("export", groups, out, "--scores", scores)
    rows = exported(out)
    assert [(text(row["prompt"]), text(row["chosen"]), text(row["rejected"])) for row in rows] == [
        ("question 0", "0b", "0a"),
        ("question 2", "2b", "2a"),
    ]
    assert [(row["score_chosen"], row["score_rejected"], row["margin"]) for row in rows] == [(1, 0.25, 0.75), (1, 0, 1)]
    assert (summary["read"], summary["rows"]) == ({"groups": 3}, 2)
    assert summary["left_out"] == {
        "a sample has no reward": 1,
        "the rewards of a pair do not differ by more than the margin": 1,
    }


@pytest.mark.parametrize(
    ("pair", "margin", "expected"),
    [
        ("best-worst", 0.75, [("2b", "2a")]),
        ("reference-worst", 0, [("reference 0", "0a"), ("reference 1", "1b"), ("reference 2", "2a")]),
        ("reference-worst", 0.25, [("reference 0", "0a"), ("reference 2", "2a")]),
    ],
)
def test_pairs_differ_by_more_than_the_margin(
    tables: tuple[str, str], tmp_path: Path, pair: str, margin: float, expected: list[tuple[str, str]]
) -> None:
    groups, scores = tables
    out = tmp_path / "pairs.jsonl"
    tiny.grao_json("export", groups, out, "--scores", scores, "--pair", pair, "--min-margin", margin)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(text(row["chosen"]), text(row["rejected"])) for row in rows] == expected


def test_the_pair_of_the_data_set_needs_no_rewards(tables: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    summary = tiny.grao_json("export", tables[0], out, "--pair", "reference-rejected")
    [row] = [json.loads(line) for line in out.read_text().splitlines()]
    assert (text(row["chosen"]), text(row["rejected"])) == ("reference 1", "rejected 1")
    assert "margin" not in row
    assert summary["left_out"] == {"a group has no rejected answer": 2}


def test_the_best_different_samples_are_exported(tables: tuple[str, str], tmp_path: Path) -> None:
    groups, scores = tables
    out = tmp_path / "best.parquet"
    options = ["--format", "sft", "--best", 2, "--min-reward", 0.5]
    summary = tiny.grao_json("export", groups, out, "--scores", scores, *options)
    assert [(text(row["completion"]), row["reward"]) for row in exported(out)] == [
        *(("0b", 1.0), ("0c", 0.5)),
        *(("1a", 0.5), ("1b", 0.5)),
        ("2b", 1.0),
    ]
    assert summary["left_out"] == {
        "a sample has a reward below --min-reward": 2,
        "a sample has no reward": 1,
        "a sample is the same as a better one": 1,
    }


def test_labels_are_relative_to_the_group_or_to_a_threshold(tables: tuple[str, str], tmp_path: Path) -> None:
    """The mean of group 0 is 0.58…, that of group 2 is 2/3; in group 1 both rewards are the mean."""
    groups, scores = tables
    out = tmp_path / "labels.parquet"
    summary = tiny.grao_json("export", groups, out, "--scores", scores, "--format", "kto")
    labels = [(text(row["completion"]), row["label"]) for row in exported(out)]
    assert labels == [("0a", False), ("0b", True), ("0c", False), ("2a", False), ("2b", True), ("2b", True)]
    assert summary["labels"] == {"undesirable": 3, "desirable": 3}
    fixed = tmp_path / "fixed.parquet"
    summary = tiny.grao_json("export", groups, fixed, "--scores", scores, "--format", "kto", "--threshold", 0)
    assert summary["labels"] == {"desirable": 8}
    assert "a training on labels needs both kinds" in summary["notes"][0]


def test_combined_rewards_come_from_advantages_and_filters_leave_samples_out(
    tables: tuple[str, str], tmp_path: Path
) -> None:
    groups, scores = tables
    advantages, masked = tmp_path / "advantages", tmp_path / "masked"
    tiny.grao_json("advantages", groups, advantages, "--scores", f"{scores}=2")
    out = tmp_path / "flat.parquet"
    tiny.grao_json("export", groups, out, "--advantages", advantages, "--format", "flat")
    rows = exported(out)
    assert [row["source"] for row in rows] == ["sample", "sample", "sample", "reference"] * 3
    assert [row["reward"] for row in rows[:4]] == [0.5, 2.0, 1.0, 1.5]
    assert sum(row["advantage"] for row in rows[:4]) == pytest.approx(0, abs=1e-6)
    tiny.grao_json("advantages", groups, masked, "--scores", scores, "--max-tokens", 2)
    refused = tiny.grao("export", groups, tmp_path / "none.parquet", "--advantages", masked)
    assert refused.exit_code == 1
    assert "9 × a filter of grao advantages masked a sample" in refused.stderr


def test_a_flat_row_has_what_the_tables_have(tables: tuple[str, str], tmp_path: Path) -> None:
    groups, scores = tables
    out = tmp_path / "flat.parquet"
    summary = tiny.grao_json("export", groups, out, "--scores", scores, "--format", "flat")
    row = exported(out)[5]
    assert (row["source"], row["sample"], row["text"], row["reward"], row["status"]) == ("sample", 1, "1b", 0.5, "ok")
    assert (row["num_tokens"], row["finish_reason"], row["metadata"]) == (3, "stop", '{"answer": "1"}')
    assert (summary["rows"], summary["left_out"]) == (12, {})


def test_reasoning_is_a_field_of_the_turn_and_what_is_no_answer_is_left_out(tmp_path: Path) -> None:
    columns = {
        "completions": ["<think>t</think>a", "<think>t", "b"],
        "reasoning": ["t", "t", None],
        "answers": ["a", None, "b"],
        "finish_reasons": ["stop", "length", "abort"],
        "completion_masks": None,
    }
    tool = {"completion_masks": [[True, False, True], None, None]}
    rows = [group(0, **columns), group(1, **tool)]
    groups = write_table(tmp_path / "groups", "groups", rows, fingerprint="g" * 32)
    lines = [score_row(row["group_id"], [1.0, 0.5, 0.0]) for row in rows]
    scores = write_table(tmp_path / "scores", "scores", lines, inputs={"groups": "g" * 32})
    out = tmp_path / "best.parquet"
    summary = tiny.grao_json("export", groups, out, "--scores", scores, "--format", "sft", "--best", 3)
    turns = [dict(row["completion"][0]) for row in exported(out)]
    assert turns == [
        {"role": "assistant", "content": "a", "reasoning_content": "t"},
        {"role": "assistant", "content": "1b", "reasoning_content": None},
        {"role": "assistant", "content": "1c", "reasoning_content": None},
    ]
    assert sorted(summary["left_out"].values()) == [1, 1, 1]


def test_prompts_of_verl_and_openrlhf_come_from_prompts_and_from_groups(
    tables: tuple[str, str], tmp_path: Path
) -> None:
    """Read back by `grao prompts`, which knows verl's format, the prompts are the same."""
    rows = [prompt_row("2+2?", "four", answer=4), prompt_row("3+3?", None)]
    prompts = write_table(tmp_path / "prompts", "prompts", rows)
    verl, openrlhf = tmp_path / "verl.parquet", tmp_path / "openrlhf.jsonl"
    summary = tiny.grao_json("export", prompts, verl, "--format", "verl", "--data-source", "sums")
    assert summary["read"] == {"prompts": 2}
    assert summary["left_out"] == {"the metadata of a prompt has no answer (--answer-field)": 1}
    [row] = exported(verl)
    assert (row["data_source"], row["reward_model"]) == ("sums", {"style": "rule", "ground_truth": "4"})
    tiny.grao_json("export", prompts, openrlhf, "--format", "openrlhf")
    assert [json.loads(line)["label"] for line in openrlhf.read_text().splitlines()] == ["4", ""]
    back = tiny.grao_json("prompts", verl, tmp_path / "back")
    assert back["kept"] == 1
    of_groups = tiny.grao_json("export", tables[0], tmp_path / "groups.parquet", "--format", "verl")
    assert of_groups["rows"] == 3


@pytest.mark.slow
def test_the_same_export_is_found_and_another_one_is_not_replaced_unasked(
    tables: tuple[str, str], tmp_path: Path
) -> None:
    groups, scores = tables
    for name in ("pairs.parquet", "pairs.jsonl"):
        command = ["export", groups, tmp_path / name, "--scores", scores]
        assert tiny.grao_json(*command)["was_complete"] is False
        assert tiny.grao_json(*command)["was_complete"] is True
        refused = tiny.grao(*command, "--format", "kto")
        assert (refused.exit_code, "--overwrite" in refused.stderr) == (1, True)
        assert tiny.grao_json(*command, "--format", "kto", "--overwrite")["rows"] == 6
    assert sorted(path.name for path in tmp_path.glob("*pairs*")) == ["pairs.jsonl", "pairs.parquet"]


def test_an_export_makes_its_folder_and_clears_up_after_killed_ones(tables: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "pairs.jsonl"
    command = ["export", tables[0], out, "--scores", tables[1]]
    assert tiny.grao_json(*command)["rows"] == 2
    killed, of_another = (out.with_name(name) for name in (".pairs.jsonl.ab12.tmp", ".notes.tmp"))
    for path in (killed, of_another):
        path.write_text("half a file")
    with locked_temporary(out) as alive:
        assert tiny.grao_json(*command)["was_complete"] is True
        assert {path.name for path in out.parent.iterdir()} == {out.name, of_another.name, Path(alive.name).name}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{groups}", "{out}/pairs"], 2, "an export is one file whose name ends in .parquet or .jsonl"),
        (["{groups}", "{out}/p.jsonl"], 2, "--format: 'preference' needs the rewards of the samples: give --scores"),
        (["{groups}", "{out}/p.jsonl", "--format", "kta"], 2, "--format: unknown export 'kta'. Did you mean kto?"),
        (["{scores}", "{out}/p.jsonl"], 1, "is a table of kind 'scores'; this needs groups"),
        (["{groups}", "{out}/p.jsonl", "--scores", "a", "--advantages", "b"], 2, "give --scores or --advantages"),
        (["nothing", "{out}/p.jsonl", "--scores", "{scores}"], 1, "nothing does not exist"),
    ],
)
def test_wrong_use_of_an_export_is_one_message(
    tables: tuple[str, str], tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    words = [word.format(groups=tables[0], scores=tables[1], out=tmp_path) for word in arguments]
    result = tiny.grao("export", *words)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert not list(tmp_path.glob("*p.jsonl*"))
