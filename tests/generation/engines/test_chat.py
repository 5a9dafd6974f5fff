"""Sampling from servers that have `/chat/completions` alone: complete groups, and nothing asked twice."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.models.source import load_tokenizer, locate_model
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.generation.chat_server import Body, ChatServer, Refused, chat_server
from tests.generation.common import Group

TOOLS = '[{"type":"function","function":{"name":"clock","parameters":{"type":"object","properties":{}}}}]'


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


@pytest.fixture
def questions(tmp_path: Path) -> str:
    rows = [tiny.prompt_row(f"Question {index}", "It is.", index=index) for index in range(7)]
    return tiny.write_table(tmp_path / "questions", "prompts", rows)


def generate(server: ChatServer, questions: str, out: Path, **changes: Any) -> tuple[list[Group], list[str]]:
    """The groups, and what people are told."""
    chosen = {"engine": "openai", "base_url": server.base_url, "samples": 3, "prompts_per_part": 2, "api": "chat"}
    summary = generate_groups(questions, str(out), GenerateOptions(**{**chosen, **changes}))
    return open_table(str(out), "groups").arrow().to_pylist(), summary.notes


def completions(groups: list[Group]) -> list[list[str]]:
    return [group["completions"] for group in groups]


def sorted_completions(groups: list[Group]) -> list[list[str]]:
    """Of single requests, the server numbers choices as they come."""
    return [sorted(texts) for texts in completions(groups)]


EXPECTED = [[f"Question {index} {number}" for number in range(3)] for index in range(7)]


@pytest.mark.slow
@pytest.mark.parametrize("api", ["chat", "auto"])
@pytest.mark.parametrize("has_choices", [True, False])
def test_texts_of_a_chat_server_become_groups(
    server: ChatServer, questions: str, tmp_path: Path, api: str, has_choices: bool
) -> None:
    server.has_choices = has_choices
    groups, notes = generate(server, questions, tmp_path / "out", api=api)
    assert sorted_completions(groups) == EXPECTED
    assert len(server.requests) == (7 if has_choices else 21)
    assert set(server.paths) == {"/v1/chat/completions"}
    for group in groups:
        assert (group["retokenized"], group["completion_logprobs"], group["prompt_token_ids"]) == (True, None, [])
        assert group["completion_token_ids"] == [[], [], []]
        assert group["finish_reasons"] == ["stop"] * 3
    assert any("for references and judging. Their token IDs are unknown" in note for note in notes)
    asked = len(server.answered)
    assert f"The server counted {13 * asked} prompt and {7 * asked} completion tokens." in notes


@pytest.mark.slow
def test_with_a_model_token_ids_are_made_from_the_text(
    server: ChatServer, questions: str, tmp_path: Path, model: Path
) -> None:
    """`auto` finds no completions; the oracle is the tokenizer itself, and its end-of-turn token."""
    groups, notes = generate(server, questions, tmp_path / "out", api="auto", model=str(model))
    assert completions(groups) == EXPECTED
    tokenizer = load_tokenizer(locate_model(str(model)))
    for group in groups:
        assert (group["retokenized"], group["completion_logprobs"]) == (True, [None] * 3)
        expected = [[*tokenizer.encode(text, add_special_tokens=False), 2] for text in group["completions"]]
        assert group["completion_token_ids"] == expected
        assert group["prompt_token_ids"]
    assert server.paths == ["/v1/completions"] + ["/v1/chat/completions"] * 7
    assert any("Their token IDs are made from the text" in note for note in notes)


@pytest.mark.slow
def test_reasoning_that_a_server_gives_apart_has_its_own_column(
    server: ChatServer, questions: str, tmp_path: Path
) -> None:
    server.message = lambda body, number: {"content": f"{number}", "reasoning_content": f"I count to {number}."}
    groups, _ = generate(server, questions, tmp_path / "out")
    assert groups[0]["reasoning"] == ["I count to 0.", "I count to 1.", "I count to 2."]
    assert groups[0]["answers"] == ["0", "1", "2"]


@pytest.mark.slow
def test_a_limit_a_cut_and_a_filter_become_finish_reasons(server: ChatServer, questions: str, tmp_path: Path) -> None:
    reasons = itertools.cycle(["length", "content_filter", "stop"])
    server.finish_reason = lambda _: next(reasons)
    groups, _ = generate(server, questions, tmp_path / "out", samples=1, max_new_tokens=7)
    found = [group["finish_reasons"][0] for group in groups]
    assert sorted(found) == sorted(["length", "abort", "stop"] * 2 + ["length"])
    assert {request["max_tokens"] for request in server.requests} == {7}


def strict(known: set[str], words: str) -> Any:
    """A server that refuses the fields that it does not know."""

    def refuse(body: Body) -> Refused | None:
        unknown = sorted(body.keys() - known)
        return (400, words.format(unknown[0]), {}) if unknown else None

    return refuse


MODERN = "Unsupported parameter: '{}' is not supported with this model. Use 'max_completion_tokens' instead."
BASIC = {"model", "messages", "temperature", "n"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refuse", "asked"),
    [
        (strict({*BASIC, "seed", "max_completion_tokens"}, MODERN), 8),
        (strict({*BASIC, "max_tokens"}, "Extra inputs are not permitted: {}"), 8),
        (strict({*BASIC, "seed", "max_tokens"} - {"n"}, "Unknown field"), 22),
    ],
    ids=["newer limit", "no seed", "no n"],
)
def test_a_field_that_the_server_refuses_costs_one_request(
    server: ChatServer, questions: str, tmp_path: Path, refuse: Any, asked: int
) -> None:
    server.refuse = refuse
    groups, _ = generate(server, questions, tmp_path / "out")
    assert sorted_completions(groups) == EXPECTED
    assert len(server.requests) == asked
    assert len(server.answered) == (21 if asked == 22 else 7)


@pytest.mark.slow
def test_a_prompt_that_the_server_refuses_is_aborted_and_said(
    server: ChatServer, questions: str, tmp_path: Path
) -> None:
    server.refuse = lambda body: (400, "content policy", {}) if "3" in body["messages"][-1]["content"] else None
    groups, notes = generate(server, questions, tmp_path / "out")
    assert groups[3]["finish_reasons"] == ["abort"] * 3
    assert completions(groups[:3] + groups[4:]) == EXPECTED[:3] + EXPECTED[4:]
    assert "The server refused 1 prompt, whose samples are aborted. E.g.: content policy" in notes


@pytest.mark.slow
def test_a_server_that_refuses_the_first_prompt_ends_the_run(
    server: ChatServer, questions: str, tmp_path: Path
) -> None:
    server.refuse = lambda _: (400, "temperature must be 1", {})
    with pytest.raises(StageFailure, match=r"refuses the first prompt \(status 400\): temperature must be 1"):
        generate(server, questions, tmp_path / "out")


@pytest.mark.slow
def test_a_rate_limited_server_answers_every_prompt_once(server: ChatServer, questions: str, tmp_path: Path) -> None:
    allowed = itertools.cycle([True, False, False])
    server.refuse = lambda _: None if next(allowed) else (429, "slow down", {"retry-after": "0.01"})
    groups, notes = generate(server, questions, tmp_path / "out")
    assert completions(groups) == EXPECTED
    assert len(server.answered) == 7
    refused = len(server.requests) - 7
    assert f"{server.base_url} answered {refused} requests with status 429; they were sent again later." in notes


@pytest.mark.slow
def test_a_stopped_run_asks_for_the_rest_alone(server: ChatServer, questions: str, tmp_path: Path) -> None:
    server.refuse = lambda body: (500, "down", {}) if "5" in body["messages"][-1]["content"] else None
    with pytest.raises(StageFailure, match="down"):
        generate(server, questions, tmp_path / "out", retries=0, concurrency=1)
    server.refuse = lambda _: None
    groups, _ = generate(server, questions, tmp_path / "out")
    assert len(server.answered) == 7
    assert completions(groups) == EXPECTED


@pytest.mark.slow
def test_tools_reach_the_server_and_calls_come_back_as_text(server: ChatServer, tmp_path: Path) -> None:
    row = {**tiny.prompt_row("What time is it?"), "tools": TOOLS}
    table = tiny.write_table(tmp_path / "tools", "prompts", [row])
    call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    server.message = lambda *_: {"content": None, "tool_calls": [call]}
    server.finish_reason = lambda _: "tool_calls"
    groups, _ = generate(server, table, tmp_path / "out", samples=1)
    assert server.requests[0]["tools"] == json.loads(TOOLS)
    assert groups[0]["completions"] == ['<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>']
    assert groups[0]["finish_reasons"] == ["stop"]


@pytest.mark.slow
def test_a_greedy_sample_is_asked_for_once(server: ChatServer, questions: str, tmp_path: Path) -> None:
    groups, _ = generate(server, questions, tmp_path / "out", temperature=0.0)
    assert completions(groups) == [[f"Question {index} 0"] * 3 for index in range(7)]
    assert len(server.requests) == 7


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"api": "completions"}, "model"),
        ({"base_url": None}, "base_url"),
        ({"extend": "groups"}, "extend"),
        ({"chat_template": "own.jinja"}, "chat_template"),
    ],
)
def test_what_needs_a_model_is_wrong_usage_without_one(
    server: ChatServer, questions: str, tmp_path: Path, changes: dict[str, Any], option: str
) -> None:
    with pytest.raises(UsageError) as caught:
        generate(server, questions, tmp_path / "out", **changes)
    assert caught.value.option == option
