"""One turn: every way of writing it gives the same message; what cannot be held is named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.prompts.base import DroppedRow
from grao_pipeline.prompts.conversations import check_answerable, conversation, text
from grao_pipeline.prompts.tools import read_tools
from grao_pipeline.prompts.turns import read_turn

ARGUMENTS = '{"city": "Paris", "days": 2}'
CALL = {"type": "function", "function": {"name": "w", "arguments": ARGUMENTS}}


def read(turn: object) -> dict[str, Any]:
    return read_turn(turn, "messages", set())


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "w", "arguments": json.loads(ARGUMENTS)}}]},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "w", "arguments": ARGUMENTS}]},
        {"role": "assistant", "content": None, "tool_calls": json.dumps([CALL])},
        {"role": "assistant", "content": None, "function_call": {"name": "w", "arguments": ARGUMENTS}},
        {"from": "function_call", "value": json.dumps({"name": "w", "arguments": json.loads(ARGUMENTS)})},
        # Parquet fills in the nulls of the other turns and calls.
        {
            "role": "assistant",
            "content": None,
            "name": None,
            "tool_call_id": None,
            "tool_calls": [
                {
                    "id": None,
                    "type": "function",
                    "function": {"name": "w", "arguments": {**json.loads(ARGUMENTS), "x": None}},
                }
            ],
        },
    ],
)
def test_every_way_of_writing_a_call_gives_the_same_message(turn: dict[str, Any]) -> None:
    assert read(turn) == {"role": "assistant", "content": "", "tool_calls": [CALL]}


@pytest.mark.parametrize(
    ("turn", "role"),
    [
        ({"role": "User", "content": "a"}, "user"),
        ({"from": "human", "value": "a"}, "user"),
        ({"from": "gpt", "value": "a"}, "assistant"),
        ({"role": "function", "name": "w", "content": "a"}, "tool"),
        ({"from": "observation", "value": "a"}, "tool"),
    ],
)
def test_roles_have_many_names(turn: dict[str, Any], role: str) -> None:
    assert (read(turn)["role"], read(turn)["content"]) == (role, "a")


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": "4", "reasoning_content": "two and two"},
        {"role": "assistant", "content": "4", "reasoning": "two and two", "thinking": None},
        {"role": "assistant", "content": "4", "thinking": "two and two", "reasoning_content": ""},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "two and two"}, {"type": "text", "text": "4"}],
        },
    ],
)
def test_reasoning_has_many_names(turn: dict[str, Any]) -> None:
    assert read(turn) == {"role": "assistant", "content": "4", "reasoning_content": "two and two"}


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ({"type": "image"}, "an image"),
        ({"type": "input_audio"}, "an audio"),
        ({"type": "video_url"}, "a video"),
        ({"type": "input_file"}, "a file"),
        ({"type": "tool_use"}, "a 'tool_use'"),
    ],
)
def test_a_part_that_is_no_text_is_named(part: dict[str, Any], name: str) -> None:
    with pytest.raises(DroppedRow, match=f"messages has {name} part; only text parts are supported"):
        read({"role": "user", "content": [{"type": "text", "text": "a"}, part]})


def test_the_result_of_a_tool_may_be_an_object() -> None:
    assert read({"role": "tool", "content": {"b": 1, "a": None, "c": "é"}})["content"] == '{"b": 1, "c": "é"}'


def test_what_no_message_can_hold_is_named() -> None:
    lost: set[str] = set()
    read_turn({"role": "user", "content": "a", "stars": 5, "tags": [], "info": {"x": None}}, "messages", lost)
    read_turn({"role": "user", "content": "a", "reasoning": "b", "weight": 1}, "messages", lost)
    read_turn({"role": "assistant", "content": "a", "reasoning": "b", "thinking": "c"}, "messages", lost)
    read_turn({"role": "assistant", "content": "a", "reasoning": [{"text": "b"}]}, "messages", lost)
    assert lost == {"stars of a turn", "reasoning of a turn", "a second reasoning of a turn"}


@pytest.mark.parametrize(
    "call", [{"function": {"name": None}}, {"function": {"name": "w", "arguments": "[1]"}}, 3, "x"]
)
def test_a_malformed_call_drops_the_row(call: object) -> None:
    with pytest.raises(DroppedRow, match="messages has a tool call w"):
        read({"role": "assistant", "content": None, "tool_calls": [call]})


def test_tools_keep_the_order_of_their_keys() -> None:
    tool = {"type": "function", "function": {"name": "w", "description": "d", "parameters": {"type": "object"}}}
    assert read_tools([tool]) == json.dumps([tool])
    assert read_tools(json.dumps([tool])) == read_tools([json.dumps(tool)]) == read_tools([tool["function"]])
    assert read_tools([]) is read_tools("") is read_tools(None) is None
    with pytest.raises(DroppedRow, match="tools is not a list of JSON schemas"):
        read_tools(["search"])


def test_turns_may_be_lists_by_key() -> None:
    turns = {"role": ["user", "assistant"], "content": ["a", "b"]}
    assert conversation(turns, "messages") == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def test_a_turn_of_calls_and_a_result_may_be_empty() -> None:
    check_answerable([{"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": ""}])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "from",
                    "value",
                    "tool_calls",
                    "name",
                    "arguments",
                    "function",
                    "type",
                    "text",
                    "thinking",
                ]
            )
            | st.text(max_size=2),
            inner,
            max_size=4,
        )
        | st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]), "content": inner})
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_a_conversation_or_dropped(value: object) -> None:
    try:
        messages = conversation(value, "messages")
    except DroppedRow:
        return
    for message in messages:
        assert isinstance(message["content"], str)
        for call in message.get("tool_calls", ()):
            assert isinstance(json.loads(call["function"]["arguments"]), dict)


@given(json_values)
def test_any_json_is_tools_or_dropped(value: object) -> None:
    try:
        tools = read_tools(value)
    except DroppedRow:
        return
    assert tools is None or all(isinstance(tool, dict) for tool in json.loads(tools))


@pytest.mark.parametrize(("value", "reason"), [(float("nan"), "x is missing"), (float("inf"), "x is not text")])
def test_numbers_that_json_lacks_are_no_text(value: float, reason: str) -> None:
    with pytest.raises(DroppedRow, match=reason):
        text(value, "x")
