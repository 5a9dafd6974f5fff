"""Tools and their calls: the forms that people write → the JSON text of the data contract."""

import json
from collections.abc import Mapping

from grao_pipeline.json_text import InvalidJson, parse_json
from grao_pipeline.prompts.base import DroppedRow
from grao_pipeline.prompts.canonical import plain


def json_text(value: object) -> str:
    """JSON in the order in which the value is written: a model reads it. Nulls of objects, which Parquet fills in, are
    left out."""
    return json.dumps(plain(value), ensure_ascii=False)


def read_tools(value: object, name: str = "tools") -> str | None:
    """The JSON schemas of tools: a list of objects, or its JSON text. A bare function is put into its envelope.

    Returns:
        the text of a JSON list; None where there is no tool.

    Raises:
        DroppedRow: the value is something else.
    """
    tools = _parsed(value)
    if tools is None or tools in ("", []):
        return None
    if not isinstance(tools, list):
        raise DroppedRow(f"{name} is not a list of JSON schemas")
    return json_text([_tool(_parsed(tool), name) for tool in tools])


def read_tool_calls(value: object, name: str) -> list[dict[str, object]]:
    """The calls of a turn: `{id, type, function: {name, arguments}}`, or `{name, arguments}` alone; or their JSON text.

    Arguments become the text of a JSON object; a text that is one stays as it is.

    Raises:
        DroppedRow: a call has no name, or its arguments are not an object.
    """
    calls = _parsed(value)
    return [_call(_parsed(call), name) for call in (calls if isinstance(calls, list) else [calls])]


def _parsed(value: object) -> object:
    """A JSON text as its value; other texts and values unchanged."""
    if isinstance(value, str):
        try:
            return parse_json(value)
        except InvalidJson:
            return value
    return value


def _tool(tool: object, name: str) -> Mapping[str, object]:
    if not isinstance(tool, Mapping):
        raise DroppedRow(f"{name} is not a list of JSON schemas")
    if isinstance(tool.get("function"), Mapping) or "name" not in tool:
        return tool
    return tool if "type" in tool and tool["type"] != "function" else {"type": "function", "function": _bare(tool)}


def _bare(tool: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in tool.items() if key != "type"}


def _call(call: object, name: str) -> dict[str, object]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if isinstance(call, Mapping) and function is None:  # Parquet fills in the nulls of other calls
        function = call
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DroppedRow(f"{name} has a tool call without the name of a function")
    assert isinstance(call, Mapping)
    identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    arguments = _arguments(function.get("arguments"), name)
    return {**identity, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _arguments(value: object, name: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        return "{}"
    if isinstance(_parsed(value), Mapping):
        return value if isinstance(value, str) else json_text(value)
    raise DroppedRow(f"{name} has a tool call whose arguments are not a JSON object")
