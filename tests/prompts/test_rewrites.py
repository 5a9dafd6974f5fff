"""Rewrites: a function that changes every prompt before it is written, or drops it."""

import json
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.prompts.summary import PromptsSummary
from grao_pipeline.storage.reader import open_table

THOUGHT = "<think>\nlong {}\n</think>\nso {}"


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"question {i}", "reference": THOUGHT.format(i, i)} for i in range(200)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def built(source: str, out: Path, **options: Any) -> tuple[list[dict[str, Any]], PromptsSummary]:
    summary = build_prompts(source, str(out), PromptsOptions(**options))
    return open_table(str(out), "prompts").arrow().to_pylist(), summary


@pytest.mark.parametrize(("share", "least", "most"), [(0, 0, 0), (1, 200, 200), (0.5, 70, 130)])
def test_a_share_of_the_references_loses_its_thought(
    source: str, tmp_path: Path, share: float, least: int, most: int
) -> None:
    """Of 200 draws with ½, 70 to 130 are within 4 deviations of 7."""
    options = {"rewrite": "thought-dropout", "rewrite_arg": [f"share={share}"]}
    rows, summary = built(source, tmp_path / "out", **options)
    emptied = [number for number, row in enumerate(rows) if row["reference"] == f"<think>\n\n</think>\nso {number}"]
    whole = [number for number, row in enumerate(rows) if row["reference"] == THOUGHT.format(number, number)]
    assert least <= len(emptied) <= most
    assert len(emptied) + len(whole) == 200
    assert summary.rewritten == len(emptied)
    again, _ = built(source, tmp_path / "again", **options)
    assert again == rows


def test_a_thought_in_a_column_of_its_own_is_emptied_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "q", "reference": "a", "reference_reasoning": "long"}) + "\n")
    rows, _ = built(str(path), tmp_path / "out", rewrite="thought-dropout", rewrite_arg=["share=1"])
    assert (rows[0]["reference"], rows[0]["reference_reasoning"]) == ("a", "\n\n")


OWN = """
from dataclasses import replace

def shout(prompt, *, mark: str = "!"):
    if prompt.reference.endswith("7"):
        return None
    return replace(prompt, reference=prompt.reference.upper() + mark, metadata={"loud": True})

def broken(prompt):
    return prompt.reference
"""


@pytest.mark.slow
def test_a_rewrite_of_ones_own_changes_and_drops_rows(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own_rewrite.py").write_text(OWN)
    rows, summary = built(source, tmp_path / "out", rewrite="own_rewrite.py:shout", rewrite_arg=["mark=?"])
    assert summary.dropped == {"own_rewrite.py:shout returned None": 20}
    assert (len(rows), summary.rewritten) == (180, 180)
    assert rows[0]["reference"] == "<THINK>\nLONG 0\n</THINK>\nSO 0?"
    assert rows[0]["metadata"] == '{"loud":true}'
    assert "rewrite_source" in open_table(str(tmp_path / "out")).provenance.options
    with pytest.raises(StageFailure, match=r"'own_rewrite.py:broken' returned .*; it must return a Prompt, or None"):
        built(source, tmp_path / "other", rewrite="own_rewrite.py:broken")


def test_unknown_rewrites_and_arguments_are_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown rewrite 'thoughts'.*thought-dropout"):
        built(source, tmp_path / "out", rewrite="thoughts")
    with pytest.raises(UsageError, match="share"):
        built(source, tmp_path / "out", rewrite="thought-dropout", rewrite_arg=["share=2"])
