"""Prompts and answers of a source (texts, or lists of messages) → messages and texts."""

from collections.abc import Mapping

from grao_pipeline.json_text import InvalidJson, parse_json
from grao_pipeline.prompts.base import DroppedRow, Message, filled
from grao_pipeline.prompts.canonical import canonical_json, is_missing
from grao_pipeline.prompts.turns import read_turn


def text(value: object, name: str) -> str:
    """A text unchanged; a number (answers often are numbers) as JSON writes it.

    Raises:
        DroppedRow: the value is missing (NaN is a missing value) or of another type.
    """
    if is_missing(value):
        raise DroppedRow(f"{name} is missing")
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = canonical_json(value)
        if number != "null":  # as infinity is
            return number
    raise DroppedRow(f"{name} is not text")


def conversation(value: object, name: str, role: str = "user", lost: set[str] | None = None) -> list[Message]:
    """A list of turns as messages; a text as one message of `role`.

    Empty system messages are removed.

    Args:
        lost: gets the names of the keys of turns that no message can hold.

    Raises:
        DroppedRow: the value is missing or empty, or a turn is malformed.
    """
    turns = _turns(value)
    if turns is None:
        return [{"role": role, "content": text(value, name)}]
    lost = set() if lost is None else lost
    messages = [read_turn(turn, name, lost) for turn in turns]
    messages = [message for message in messages if message["role"] != "system" or message["content"].strip()]
    if not messages:
        raise DroppedRow(f"{name} is empty")
    return messages


def listed_turns(value: object, name: str) -> list[object]:
    """The turns of a conversation that must be a list; its JSON text, as a CSV file holds it, is one, too.

    Raises:
        DroppedRow: the value is missing or something else.
    """
    turns = _turns_of_text(value) if isinstance(value, str) else _turns(value)
    if turns is None:
        raise DroppedRow(f"{name} is missing" if is_missing(value) else f"{name} is not a list")
    return turns


def answer(value: object, name: str) -> str:
    """A text, or the text of a list with exactly one message, of the assistant.

    Raises:
        DroppedRow: the value is missing or of another form.
    """
    return str(answer_turn(value, name, set())["content"])


def answer_turn(value: object, name: str, lost: set[str]) -> Message:
    """`answer`, with its reasoning and tool calls.

    Args:
        lost: see `conversation`.

    Raises:
        DroppedRow: the value is missing or of another form.
    """
    if isinstance(value, Mapping) and ("role" in value or "from" in value):
        value = [value]
    messages = conversation(value, name, "assistant", lost)
    if [message["role"] for message in messages] != ["assistant"]:
        raise DroppedRow(f"{name} is not one assistant turn")
    return messages[0]


def reference_of(turn: Message, lost: set[str]) -> tuple[str | None, str | None]:
    """(reference, its reasoning) of the turn that answers. A turn that calls tools is not a reference: a reference is a
    text.

    Raises:
        DroppedRow: the turn is empty.
    """
    if "tool_calls" in turn:
        lost.add("tool_calls of the answer")
        return None, None
    return filled(turn["content"]), turn.get("reasoning_content")


def check_answerable(messages: list[Message]) -> None:
    """Check that the assistant has the next turn, and that no turn is empty.

    Raises:
        DroppedRow: one of these does not hold.
    """
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise DroppedRow("the conversation does not end in a user turn")
    if any(_is_empty(message) for message in messages):
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


def _is_empty(message: Message) -> bool:
    """A turn that only calls tools has no text, and a tool may return nothing."""
    return not message["content"].strip() and "tool_calls" not in message and message["role"] != "tool"


def _turns(value: object) -> list[object] | None:
    """The turns of a list; of lists by key, as `datasets` writes a sequence of objects; None of another value."""
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping) and ("role" in value or "from" in value):
        columns = list(value.values())
        if all(isinstance(column, list) for column in columns) and len(set(map(len, columns))) == 1:
            return [dict(zip(value, turn, strict=True)) for turn in zip(*columns, strict=True)]
    return None


def _turns_of_text(value: str) -> list[object] | None:
    try:
        turns = parse_json(value) if value.lstrip().startswith("[") else None
    except InvalidJson:
        return None
    return turns if isinstance(turns, list) else None
