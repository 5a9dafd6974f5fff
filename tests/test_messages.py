"""Messages without the nulls of a table, and with the arguments of tool calls as objects."""

import pyarrow as pa

from grao_pipeline.messages import plain_messages, template_messages
from grao_pipeline.schemas import MESSAGES

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": [2]}'}}
TURNS = [
    {"role": "user", "content": "1 + 2?", "name": "Ada"},
    {"role": "assistant", "content": "", "reasoning_content": "a tool knows", "tool_calls": [CALL]},
    {"role": "tool", "content": "3", "tool_call_id": "c1"},
]


def test_messages_come_back_from_a_table_as_they_were_written() -> None:
    (stored,) = pa.array([TURNS], MESSAGES).to_pylist()
    assert set(stored[0]) == {"role", "content", "reasoning_content", "name", "tool_call_id", "tool_calls"}
    assert plain_messages(stored) == TURNS


def test_a_template_gets_the_arguments_of_a_tool_call_as_an_object() -> None:
    (stored,) = pa.array([TURNS], MESSAGES).to_pylist()
    (call,) = template_messages(stored)[1]["tool_calls"]
    assert call["function"] == {"name": "add", "arguments": {"a": 1, "b": [2]}}
