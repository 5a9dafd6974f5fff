"""Messages of a conversation, as tables hold them and as chat templates and rewards read them."""

from collections.abc import Iterable, Mapping
from typing import Any

from grao_pipeline.json_text import parse_json

Message = Mapping[str, Any]
"""`role` and `content` (text), and where they are not null `reasoning_content`, `name`, `tool_call_id`, `tool_calls`.

Example: `{"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": {…}}]}`
"""


def plain_message(message: Message) -> Message:
    """A message without the nulls that a table fills in: templates ask whether a field is there."""
    return {name: _without_nulls(value) for name, value in message.items() if value is not None}


def plain_messages(messages: Iterable[Message]) -> list[Message]:
    """`plain_message` of every turn."""
    return [plain_message(message) for message in messages]


def template_messages(messages: Iterable[Message]) -> list[Message]:
    """Messages as chat templates expect them: the arguments of tool calls are objects, not JSON text."""
    return [_with_argument_objects(message) for message in plain_messages(messages)]


def _without_nulls(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _with_argument_objects(message: Message) -> Message:
    if "tool_calls" not in message:
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": parse_json(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}
