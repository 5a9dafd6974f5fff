"""The columns of a table that hold JSON text, checked row by row where other software wrote them."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from grao_pipeline.errors import SchemaError
from grao_pipeline.json_text import InvalidJson, parse_json, parse_object
from grao_pipeline.messages import Message
from grao_pipeline.parsing import check_text


def check_json(table: pa.Table, where: str) -> None:
    """Check `metadata` (JSON objects), `tools` (JSON lists) and the arguments of tool calls (JSON objects).

    Raises:
        SchemaError: names `where`, the column, the row and the reason.
    """
    checks: dict[str, Callable[[Any], None]] = {
        "metadata": _check_object,
        "tools": _check_tools,
        "messages": _check_arguments,
    }
    for name, check in checks.items():
        for row, value in enumerate(_values(table, name)):
            try:
                check(value)
            except ValueError as error:
                raise SchemaError(f"{where}: column '{name}' is not as it should be in row {row}: {error}.") from error


def _values(table: pa.Table, name: str) -> Iterable[object]:
    if name not in table.column_names:
        return ()
    return (value for chunk in table.column(name).chunks for value in chunk.to_pylist())


def _check_object(text: str) -> None:
    _check_unicode(text, parse_object(text))


def _check_tools(text: str | None) -> None:
    if text is None:
        return
    tools = parse_json(text)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise InvalidJson(f"expected a list of objects, found {text[:40]!r}")
    _check_unicode(text, tools)


def _check_arguments(messages: Iterable[Message]) -> None:
    for message in messages:
        for call in message["tool_calls"] or ():
            _check_object(call["function"]["arguments"])


def _check_unicode(text: str, value: object) -> None:
    if "\\u" in text:  # an escape may spell half a character
        check_text(json.dumps(value, ensure_ascii=False))
