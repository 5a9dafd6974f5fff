"""Prompts and answers of a source (texts, or lists of messages) → messages and texts."""

from grao_pipeline.prompts.base import DroppedRow, Message
from grao_pipeline.prompts.canonical import canonical_json

ROLES = ("system", "developer", "user", "assistant", "tool")


def text(value: object, name: str) -> str:
    """A text unchanged; a number (answers often are numbers) as JSON writes it.

    Raises:
        DroppedRow: the value is missing or of another type.
    """
    if value is None:
        raise DroppedRow(f"{name} is missing")
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return canonical_json(value)
    raise DroppedRow(f"{name} is not text")


def conversation(value: object, name: str, role: str = "user") -> list[Message]:
    """A list of {role, content} as messages; a text as one message of `role`.

    Empty system messages are removed. Keys other than role and content are ignored.

    Raises:
        DroppedRow: the value is missing or empty, or a message has no text or an unknown role.
    """
    if not isinstance(value, list):
        return [{"role": role, "content": text(value, name)}]
    messages = [_message(item, name) for item in value]
    messages = [message for message in messages if message["role"] != "system" or message["content"].strip()]
    if not messages:
        raise DroppedRow(f"{name} is empty")
    return messages


def answer(value: object, name: str) -> str:
    """A text, or the text of a list with exactly one message, of the assistant.

    Raises:
        DroppedRow: the value is missing or of another form.
    """
    if not isinstance(value, list):
        return text(value, name)
    messages = conversation(value, name)
    if [message["role"] for message in messages] != ["assistant"]:
        raise DroppedRow(f"{name} is not one assistant turn")
    return str(messages[0]["content"])


def check_answerable(messages: list[Message]) -> None:
    """Check that the assistant has the next turn, and that no turn is empty.

    Raises:
        DroppedRow: one of these does not hold.
    """
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise DroppedRow("the conversation does not end in a user turn")
    if not all(message["content"].strip() for message in messages):
        raise DroppedRow("the prompt has an empty turn" if len(messages) > 1 else "the prompt is empty")


def check_unicode(*texts: str | None) -> None:
    """Check for unpaired surrogates: JSON can spell them, but UTF-8, and so Parquet and every tokenizer, cannot.

    Raises:
        DroppedRow: a text contains one.
    """
    try:
        for text in texts:
            if text is not None and not text.isascii():
                text.encode()
    except UnicodeEncodeError as error:
        raise DroppedRow("a text is not valid Unicode") from error


def _message(item: object, name: str) -> Message:
    if not isinstance(item, dict) or "role" not in item or "content" not in item:
        raise DroppedRow(f"{name} is not a list of messages with role and content")
    if item["role"] not in ROLES:
        raise DroppedRow(f"{name} has a turn of an unknown role")
    if not isinstance(item["content"], str):
        raise DroppedRow(f"{name} has a turn without text")
    return {"role": item["role"], "content": item["content"]}
