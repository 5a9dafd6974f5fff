"""One turn of a conversation, as people write it → a message of the data contract."""

import json
from collections.abc import Mapping

from grao_pipeline.prompts.base import DroppedRow, Message
from grao_pipeline.prompts.tools import json_text, read_tool_calls

ROLES = {
    **{role: role for role in ("system", "developer", "user", "assistant", "tool")},
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "model", "chatbot"), "assistant"),
    **dict.fromkeys(("function", "observation", "function_response", "tool_response"), "tool"),
    "function_call": "assistant",
}
"""A role, in any case, → the role of a message. ShareGPT and its relatives have other names than OpenAI."""
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
TEXT_PARTS = ("text", "input_text", "output_text")
PART_NAMES = {
    "image_url": "an image",
    "input_image": "an image",
    "image": "an image",
    "input_audio": "an audio",
    "audio": "an audio",
    "audio_url": "an audio",
    "video": "a video",
    "video_url": "a video",
    "file": "a file",
    "input_file": "a file",
}
KNOWN = {"role", "content", "from", "value", "name", "tool_call_id", "weight"}
KNOWN_OF_ASSISTANT = {*KNOWN, *REASONING_KEYS, "tool_calls", "function_call"}
"""Keys of a turn that are read. The weight is read with the answer, which is the only turn that it can change."""


def read_turn(item: object, name: str, lost: set[str]) -> Message:
    """A turn `{role, content}`, or `{from, value}` as in ShareGPT, as a message.

    Text parts of a content are joined by line breaks. A message has a key only where it has a value.

    Args:
        name: the field that holds the conversation, for the reasons.
        lost: gets the names of the keys that no message can hold.

    Raises:
        DroppedRow: the turn has no text or an unknown role, or is malformed.
    """
    if not isinstance(item, Mapping):
        raise DroppedRow(f"{name} is not a list of messages with role and content")
    written_role = item.get("role", item.get("from"))
    if written_role is None:
        raise DroppedRow(f"{name} is not a list of messages with role and content")
    written_role = str(written_role).strip().lower()
    role = ROLES.get(written_role)
    if role is None:
        raise DroppedRow(f"{name} has a turn of an unknown role")
    calls = _tool_calls(item, written_role, role, name)
    thoughts: list[str] = []
    content = "" if written_role == "function_call" else _content(item, role, bool(calls), name, thoughts)
    message: Message = {"role": role, "content": content}
    reasoning = _reasoning(item, thoughts, lost) if role == "assistant" else None
    if reasoning:
        message["reasoning_content"] = reasoning
    for key in ("name", "tool_call_id"):
        if isinstance(item.get(key), str) and item[key]:
            message[key] = item[key]
    if calls:
        message["tool_calls"] = calls
    others = item.keys() - (KNOWN_OF_ASSISTANT if role == "assistant" else KNOWN)
    lost.update(f"{key} of a turn" for key in others if _says_something(item[key]))
    return message


def _says_something(value: object) -> bool:
    """Whether a value is worth a word: Parquet and datasets fill in nulls and empty lists."""
    if isinstance(value, Mapping):
        return any(map(_says_something, value.values()))
    return value is not None and value not in ("", [])


def _content(item: Mapping[str, object], role: str, has_calls: bool, name: str, thoughts: list[str]) -> str:
    if "role" not in item and "value" in item:
        value = item["value"]
    elif "content" in item:
        value = item["content"]
    else:
        value = item.get("value")
        if value is None and not has_calls:
            raise DroppedRow(f"{name} is not a list of messages with role and content")
    if isinstance(value, str):
        return value
    if value is None and has_calls:
        return ""
    if isinstance(value, list) and (role != "tool" or all(map(_is_part, value))):
        return _joined(value, name, thoughts)
    if role == "tool" and isinstance(value, Mapping | list | int | float):
        return json_text(value)
    raise DroppedRow(f"{name} has a turn without text")


def _is_part(part: object) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("type"), str)


def _joined(parts: list[object], name: str, thoughts: list[str]) -> str:
    """The texts of content parts, joined by line breaks; reasoning parts are added to `thoughts`."""
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, Mapping):
            raise DroppedRow(f"{name} has a content part that is neither a text nor an object")
        elif part.get("type") in TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(str(part["text"]))
        elif part.get("type") in ("thinking", "reasoning"):
            thought = part.get("thinking") or part.get("reasoning") or part.get("text")
            if isinstance(thought, str):
                thoughts.append(thought)
        else:
            kind = str(part.get("type"))
            named = PART_NAMES.get(kind, f"a '{kind}'")
            raise DroppedRow(f"{name} has {named} part; only text parts are supported")
    return "\n".join(texts)


def _reasoning(item: Mapping[str, object], thoughts: list[str], lost: set[str]) -> str | None:
    texts: list[str] = ["\n".join(thoughts)] if thoughts else []
    for key in REASONING_KEYS:
        value = item.get(key)
        if isinstance(value, str) and value.strip():
            texts.append(value)
        elif _says_something(value) and not isinstance(value, str):
            lost.add(f"{key} of a turn")
    if len(set(texts)) > 1:
        lost.add("a second reasoning of a turn")
    return texts[0] if texts else None


def _tool_calls(item: Mapping[str, object], written_role: str, role: str, name: str) -> list[dict[str, object]]:
    if role != "assistant":
        return []
    if written_role == "function_call":
        return read_tool_calls(item.get("value", item.get("content")), name)
    if item.get("tool_calls"):
        return read_tool_calls(item["tool_calls"], name)
    legacy = item.get("function_call")
    if isinstance(legacy, Mapping) and legacy.get("name"):
        return read_tool_calls([legacy], name)
    return []


def texts_of(message: Message) -> list[str]:
    """Every text of a message, e.g. to check that it is valid Unicode."""
    texts = [message[key] for key in ("content", "reasoning_content", "name", "tool_call_id") if key in message]
    return [*texts, *([json.dumps(message["tool_calls"], ensure_ascii=False)] if "tool_calls" in message else [])]


def same_text(one: str, other: str) -> bool:
    """Whether two texts differ in white space alone."""
    return one.split() == other.split()
