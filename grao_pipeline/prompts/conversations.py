"""What a source calls a prompt or an answer (text, or a list of messages) → messages and text."""

from typing import Any

from grao_pipeline.prompts.base import DroppedRow, Message
from grao_pipeline.prompts.canonical import canonical_json

ROLES = ("system", "developer", "user", "assistant", "tool")


def text(value: Any, name: str) -> str:
    """A text as it is; a number (an answer often is one) as JSON writes it.

    Raises:
        DroppedRow: it is missing, or something else.
    """
    if value is None:
        raise DroppedRow(f"{name} is missing")
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return canonical_json(value)
    raise DroppedRow(f"{name} is not text")


def conversation(value: Any, name: str, role: str = "user") -> list[Message]:
    """A list of {role, content} as messages; a text as one message of `role`.

    An empty system message is no system message. Keys other than role and content are ignored.

    Raises:
        DroppedRow: it is missing or empty, or a message has no text or an unknown role.
    """
    if not isinstance(value, list):
        return [{"role": role, "content": text(value, name)}]
    messages = [_message(item, name) for item in value]
    messages = [message for message in messages if message["role"] != "system" or message["content"].strip()]
    if not messages:
        raise DroppedRow(f"{name} is empty")
    return messages


def answer(value: Any, name: str) -> str:
    """A text, or the text of a list that holds one message of the assistant.

    Raises:
        DroppedRow: it is missing, or something else.
    """
    if not isinstance(value, list):
        return text(value, name)
    messages = conversation(value, name)
    if [message["role"] for message in messages] != ["assistant"]:
        raise DroppedRow(f"{name} is not one assistant turn")
    return messages[0]["content"]


def check_answerable(messages: list[Message]) -> None:
    """A prompt is a conversation that waits for the assistant, without empty turns.

    Raises:
        DroppedRow: it does not wait for the assistant, or a turn is empty.
    """
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise DroppedRow("the conversation does not end in a user turn")
    if not all(message["content"].strip() for message in messages):
        raise DroppedRow("the prompt has an empty turn" if len(messages) > 1 else "the prompt is empty")


def _message(item: Any, name: str) -> Message:
    if not isinstance(item, dict) or "role" not in item or "content" not in item:
        raise DroppedRow(f"{name} is not a list of messages with role and content")
    if item["role"] not in ROLES:
        raise DroppedRow(f"{name} has a turn of an unknown role")
    if not isinstance(item["content"], str):
        raise DroppedRow(f"{name} has a turn without text")
    return {"role": item["role"], "content": item["content"]}
