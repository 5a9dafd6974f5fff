"""`--format module:function`: a user's function as a format."""

import json
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import UsageError
from grao_pipeline.plugin_kinds import describe_plugin
from grao_pipeline.prompts.base import DroppedRow, Prompt
from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.prompts.summary import PromptsSummary
from grao_pipeline.storage.reader import open_table


def two_columns(row: dict[str, Any]) -> dict[str, Any] | None:
    """Columns `q` and `a`.

    More.
    """
    if row["q"] == "none":
        return None
    if row["q"] == "drop":
        raise DroppedRow("I do not want it")
    return {"prompt": row["q"], "reference": row["a"], "metadata": {"n": 1}}


def a_prompt(row: dict[str, Any]) -> Prompt:
    return Prompt([{"role": "user", "content": row["q"]}], row["a"], None, {}, tools='[{"name": "w"}]')


def fails(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["missing"]}


def unknown_key(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["q"], "answer": row["a"]}


def a_set(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["q"], "metadata": {"n": {1}}}


def a_text(row: dict[str, Any]) -> str:
    return str(row["q"])


def build(directory: Path, function: str) -> PromptsSummary:
    rows = [{"q": "a", "a": "b"}, {"q": "none", "a": "b"}, {"q": "drop", "a": "b"}]
    (directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = PromptsOptions(format=f"{__name__}:{function}")
    return build_prompts(str(directory / "rows.jsonl"), str(directory / "out"), options)


def test_a_function_of_a_row_is_a_format(tmp_path: Path) -> None:
    summary = build(tmp_path, "two_columns")
    assert summary.dropped == {"I do not want it": 1, f"{__name__}:two_columns returned None": 1}
    table = open_table(str(tmp_path / "out"), "prompts")
    (row,) = table.arrow().to_pylist()
    assert (row["messages"][0]["content"], row["reference"], row["metadata"]) == ("a", "b", '{"n":1}')
    assert "format_source" in table.provenance.options  # an edited function is another format


def test_a_function_may_return_a_prompt(tmp_path: Path) -> None:
    assert build(tmp_path, "a_prompt").tools == 3


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("fails", r"failed at .*test_custom\.py:\d+: KeyError: 'missing'.*The row: {'q': 'a'"),
        ("unknown_key", r"returned the key 'answer'\. Keys: messages, prompt, reference"),
        ("a_set", "metadata that JSON cannot hold: set"),
        ("a_text", "must return a Prompt, a dictionary or None, found str"),
        ("absent", "has no attribute 'absent'"),
    ],
)
def test_a_wrong_function_is_answered_with_what_is_wrong(tmp_path: Path, function: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(tmp_path, function)


def test_formats_describe_themselves() -> None:
    assert describe_plugin("format", "alpaca").summary.startswith("instruction, input")
    assert describe_plugin("format", f"{__name__}:two_columns").summary == "Columns `q` and `a`."


def test_an_unknown_format_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(UsageError, match=r"unknown format 'alpacca'\. Did you mean alpaca"):
        build_prompts(str(tmp_path / "a.jsonl"), str(tmp_path / "out"), PromptsOptions(format="alpacca"))
