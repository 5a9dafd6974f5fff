"""The expected answer of a verifier: where the metadata has it, and why it cannot be used."""

import json
from collections.abc import Mapping
from typing import Any

from grao_pipeline.scoring.rewards.base import Judgement
from grao_pipeline.scoring.rewards.common import readable


class NoExpectedAnswer(Exception):
    """The metadata has no expected answer that the verifier can use; the message says why."""

    def judgement(self) -> Judgement:
        """The status of every candidate of this prompt."""
        return Judgement(None, "error", readable(str(self)), unusable_expected=True)


def unreadable(field: str, answer: object) -> NoExpectedAnswer:
    """The exception for an answer that its verifier cannot read whole."""
    return NoExpectedAnswer(f"the expected answer cannot be read: metadata '{field}' is {answer!r}")


def lookup(metadata: Mapping[str, Any], field: str) -> object:
    """The value of a metadata field, or None. A dotted field names a value inside objects and lists, also inside JSON
    text: `reward_model.ground_truth`, `answers.0`. A key that has dots itself goes first.
    """
    if field in metadata:
        return metadata[field]
    value: Any = metadata
    for key in field.split("."):
        if isinstance(value, str):
            value = _json(value)
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal():
            value = value[int(key)] if int(key) < len(value) else None
        else:
            return None
    return value


def expected_value(metadata: Mapping[str, Any], field: str) -> object:
    """The value of a metadata field.

    Raises:
        NoExpectedAnswer: there is none, or it is null.
    """
    value = lookup(metadata, field)
    if value is None:
        raise NoExpectedAnswer(f"metadata has no '{field}' to compare with")
    return value


def expected_text(metadata: Mapping[str, Any], field: str) -> str:
    """The expected answer as text; a number as JSON writes it.

    Raises:
        NoExpectedAnswer: there is none, or it is neither text nor a number.
    """
    value = expected_value(metadata, field)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise NoExpectedAnswer(_problem(value, field))


def expected_texts(metadata: Mapping[str, Any], field: str) -> list[str]:
    """The accepted answers as texts: one, or those of a list.

    Raises:
        NoExpectedAnswer: there is none, or one is neither text nor a number.
    """
    value = expected_value(metadata, field)
    if not isinstance(value, list):
        return [str(value)] if isinstance(value, bool) else [expected_text(metadata, field)]
    if not value or not all(isinstance(answer, str | int | float) for answer in value):
        raise NoExpectedAnswer(_problem(value, field))
    return [str(answer) for answer in value]


def _problem(value: object, field: str) -> str:
    if isinstance(value, Mapping):
        kind, names = "an object", [f"{field}.{key}" for key in value]
    elif isinstance(value, list):
        kind, names = f"a list of {len(value)}", [f"{field}.{index}" for index in range(len(value))]
    else:
        kind, names = repr(value), []
    remedy = f"; name one of its values, e.g. field={names[0]}" if names else ""
    return f"the expected answer cannot be read: metadata '{field}' is {kind}, not a text or a number{remedy}"


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
