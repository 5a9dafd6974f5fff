"""Rows of one sample, and the output files of a batch, are gathered into groups by their prompt."""

import json
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.importing.columns import choose_layout
from grao_pipeline.messages import plain_messages
from tests import tiny
from tests.importing.common import read, source


def test_the_completion_logs_of_trl_become_groups(tmp_path: Path) -> None:
    """Their columns: step, prompt, completion, one for every reward function, advantage."""
    rows = [
        {"step": 1, "prompt": "a", "completion": "one", "reward": 1.0, "advantage": 0.7, "task": "x"},
        {"step": 1, "prompt": "b", "completion": "two", "reward": 0.0, "advantage": -0.7, "task": "y"},
        {"step": 1, "prompt": "a", "completion": "one", "reward": 0.0, "advantage": -0.7, "task": "x"},
        {"step": 2, "prompt": "a", "completion": [{"role": "assistant", "content": "three"}], "reward": None},
    ]
    rows[3] |= {"task": "x", "advantage": 0.0}
    summary = tiny.grao_json("import", source(tmp_path, rows), tmp_path / "out")
    groups, scores = read(tmp_path / "out/groups"), read(tmp_path / "out/scores")
    assert [group["completions"] for group in groups] == [["one", "one", "three"], ["two"]]
    assert [score["rewards"] for score in scores] == [[1.0, 0.0, None], [0.0]]
    # What differs between the samples of a prompt is not of the prompt; it is left out, and said.
    assert [json.loads(group["metadata"]) for group in groups] == [
        {"task": "x"},
        {"step": 1, "task": "y", "advantage": -0.7},
    ]
    notes = " ".join(summary["notes"])
    assert "'step' differs between the samples of 1 of 2 prompts" in notes
    assert "4 responses have no finish reason" in notes
    apart = tiny.grao_json("import", source(tmp_path, rows), tmp_path / "apart", "--group-by", "step")
    assert apart["groups"] == 3
    assert [group["completions"] for group in read(tmp_path / "apart/groups")] == [["one", "one"], ["two"], ["three"]]


@pytest.mark.parametrize(
    ("row", "read_as"),
    [
        ({"prompt": "q", "response": "a", "score": 1.0}, {"score": "rewards"}),
        ({"instruction": "q", "generation": "a"}, {"instruction": "prompt", "generation": "responses"}),
        (
            {"instruction": "q", "generations": ["a", "b"], "ratings": [4, 2], "rationales": ["", ""]},
            {"instruction": "prompt", "generations": "responses", "ratings": "rewards"},
        ),
        ({"prompt": "q", "responses": ["a"], "score": 1.0, "completion": "x"}, {}),
        ({"messages": [{"role": "user", "content": "q"}], "response": "a", "prompt": "q", "tokens": 7}, {}),
    ],
)
def test_columns_are_known_by_the_names_of_other_software(row: dict[str, Any], read_as: dict[str, str]) -> None:
    assert choose_layout(list(row), [row]).read_as == read_as


def test_objects_with_texts_and_scores_are_responses(tmp_path: Path) -> None:
    """As UltraFeedback has them: completions with the model, its response and an overall score."""
    completions = [{"model": "m", "response": "r1", "overall_score": 7.0}, {"model": "n", "response": "r2"}]
    tiny.grao_json("import", source(tmp_path, [{"instruction": "q", "completions": completions}]), tmp_path / "out")
    assert read(tmp_path / "out/groups")[0]["completions"] == ["r1", "r2"]
    assert read(tmp_path / "out/scores")[0]["rewards"] == [7.0, None]


def choice(content: str, reason: str = "stop") -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content}, "finish_reason": reason, "logprobs": None}


def batch(directory: Path) -> tuple[Path, Path]:
    """An input file with its output file, whose lines are in another order."""
    prompts = {"r0": "q0", "r1": "q1", "r2": "q0", "r3": "q3"}
    requests = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions"}
        | {"body": {"model": "m", "messages": [{"role": "user", "content": text}]}}
        for name, text in prompts.items()
    ]
    answers: dict[str, Any] = {
        "r1": {"choices": [choice("a", "length"), choice("b", "content_filter")]},
        "r0": {"choices": [choice("c")]},
        "r2": {"choices": [choice("d")]},
        "unknown": {"choices": [choice("e")]},
    }
    lines: list[dict[str, Any]] = [
        {"custom_id": name, "response": {"status_code": 200, "body": body}, "error": None}
        for name, body in answers.items()
    ]
    lines.append({"custom_id": "r3", "response": {"status_code": 429, "body": {}}, "error": None})
    lines.append({"custom_id": "r3", "response": None, "error": {"code": "batch_expired", "message": "too late"}})
    return source(directory, requests, "in.jsonl"), source(directory, lines, "out.jsonl")


def test_a_batch_is_joined_by_its_custom_ids(tmp_path: Path) -> None:
    requests, output = batch(tmp_path)
    summary = tiny.grao_json("import", output, tmp_path / "out", "--batch-input", requests)
    groups = read(tmp_path / "out/groups")
    assert [plain_messages(group["messages"])[0]["content"] for group in groups] == ["q1", "q0"]
    assert [group["completions"] for group in groups] == [["a", "b"], ["c", "d"]]
    assert [group["finish_reasons"] for group in groups] == [["length", "abort"], ["stop", "stop"]]
    assert summary["dropped"] == {
        "the input file has no request with this custom_id": 1,
        "the request failed (429)": 1,
        "the request failed (batch_expired)": 1,
    }
    assert summary["samples"] == 4


def test_a_batch_without_its_input_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    requests, output = batch(tmp_path)
    refused = tiny.grao("import", output, tmp_path / "out")
    assert (refused.exit_code, "give --batch-input FILE" in refused.stderr) == (2, True)
    swapped = tiny.grao("import", requests, tmp_path / "out", "--batch-input", output)
    assert swapped.exit_code == 2


def test_answers_of_the_responses_api_are_read(tmp_path: Path) -> None:
    body = {"model": "m", "input": "q"}
    requests = source(
        tmp_path, [{"custom_id": "x", "method": "POST", "url": "/v1/responses", "body": body}], "in.jsonl"
    )
    items = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
    ]
    line = {"custom_id": "x", "response": {"status_code": 200, "body": {"output": items, "status": "incomplete"}}}
    tiny.grao_json("import", source(tmp_path, [line]), tmp_path / "out", "--batch-input", requests)
    [group] = read(tmp_path / "out/groups")
    assert (group["completions"], group["reasoning"], group["finish_reasons"]) == (["a"], ["hm"], ["length"])


def test_a_cut_response_gets_no_end_token(tmp_path: Path) -> None:
    tiny.make_tokenizer(tmp_path / "tokenizer")
    row = {"prompt": "q", "responses": ["one tw", "one two"], "finish_reasons": ["max_tokens", "eos"]}
    arguments = ["import", source(tmp_path, [row]), tmp_path / "out", "--tokenizer", tmp_path / "tokenizer"]
    summary = tiny.grao_json(*arguments)
    [group] = read(tmp_path / "out/groups")
    assert group["finish_reasons"] == ["length", "stop"]
    assert [ids[-1] == 2 for ids in group["completion_token_ids"]] == [False, True]
    assert summary["finish_reasons"] == {"length": 1, "stop": 1}
    assert not any("finish reason" in note for note in summary["notes"])
