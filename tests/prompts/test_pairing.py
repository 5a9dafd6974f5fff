"""Labeled answers: paired by prompt, never a reference where the label is false, and every row counted."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.prompts.summary import PromptsSummary
from grao_pipeline.storage.reader import open_table
from tests.tiers import examples


def rated(prompt: str, completion: str, label: bool) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, "label": label}


def build(
    directory: Path, rows: list[dict[str, Any]], **options: Any
) -> tuple[PromptsSummary, list[tuple[str, str | None, str | None]]]:
    (directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = build_prompts(str(directory / "rows.jsonl"), str(directory / "out"), PromptsOptions(**options))
    table = open_table(str(directory / "out"), "prompts").arrow().to_pylist()
    return summary, [(row["messages"][0]["content"], row["reference"], row["rejected"]) for row in table]


def test_answers_of_a_prompt_are_paired_in_order(tmp_path: Path) -> None:
    rows = [
        rated("p", "bad 1", False),
        rated("q", "bad", False),
        rated("p", "good 1", True),
        rated("p", "good 2", True),
        rated("p", "good 3", True),
        rated("p", "bad 2", False),
        rated("q", "worse", False),
        rated("r", "good", True),
    ]
    summary, prompts = build(tmp_path, rows, rejects=str(tmp_path / "rejects.jsonl"))
    assert prompts == [
        ("p", "good 1", "bad 1"),
        ("p", "good 2", "bad 2"),
        ("p", "good 3", None),
        ("q", None, "bad"),
        ("r", "good", None),
    ]
    assert (summary.read, summary.kept, summary.paired) == (8, 5, 2)
    assert summary.dropped == {"its prompt has no desirable answer left to pair it with": 1}
    (reject,) = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert (reject["row"], reject["data"]) == (6, rows[6])


def test_an_answer_with_both_labels_is_not_rejected(tmp_path: Path) -> None:
    summary, prompts = build(tmp_path, [rated("p", "a", False), rated("p", "a", True)])
    assert prompts == [("p", "a", None)]
    assert summary.dropped == {"its answer is labeled both desirable and undesirable": 1}


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(st.sampled_from("pq"), st.sampled_from("abc"), st.booleans()), min_size=1, max_size=9))
def test_every_row_is_counted_once(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, bool]]) -> None:
    summary, prompts = build(tmp_path_factory.mktemp("rows"), [rated(*row) for row in rows])
    assert summary.kept + summary.paired + sum(summary.dropped.values()) == summary.read == len(rows)
    assert all(reference is None or (prompt, reference, True) in rows for prompt, reference, _ in prompts)
    assert all(rejected is None or (prompt, rejected, False) in rows for prompt, _, rejected in prompts)
    assert all(reference != rejected for _, reference, rejected in prompts)
    desirable = {(prompt, answer) for prompt, answer, label in rows if label}
    assert {(prompt, reference) for prompt, reference, _ in prompts if reference} == desirable
