"""The form of a judge's answer: a JSON object, every field of it one of a few choices."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from grao_pipeline.scoring.judges.base import Reply

EXPLANATION = "explanation"

Choices = Mapping[str, Sequence[str | int]]


class NoAnswer(Exception):
    """A judge was asked and did not answer.

    Args:
        status: of the judgement that comes of it: `unparsable`, `truncated` or `error`.
        detail: what it said instead, or why it said nothing.
    """

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def answer_schema(choices: Choices, explain: bool = False) -> dict[str, Any]:
    """The JSON schema of an object with these fields, each one of its choices.

    Every keyword is one that OpenAI's strict mode and vLLM's grammars both take.

    Args:
        explain: let a free text come first, so that the choice can follow from it.
    """
    fields: dict[str, Any] = {EXPLANATION: {"type": "string"}} if explain else {}
    for name, values in choices.items():
        kind = "integer" if isinstance(values[0], int) else "string"
        fields[name] = {"type": kind, "enum": list(values)}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def read_answer(reply: Reply, choices: Choices) -> dict[str, Any]:
    """The fields of a reply. Not every server holds its model to the schema, so nothing is taken on trust.

    >>> read_answer(Reply('{"verdict": "A"}'), {"verdict": ["A", "B", "tie"]})
    {'verdict': 'A'}

    Raises:
        NoAnswer: there is none, or it is not what was asked for.
    """
    if reply.status != "ok":
        raise NoAnswer(reply.status, reply.text)
    unparsable = NoAnswer("unparsable", reply.text or "the judge's reply is empty")
    try:
        answer = json.loads(reply.text)
    except (ValueError, RecursionError):
        raise unparsable from None
    if not isinstance(answer, dict) or not choices.keys() <= answer.keys() <= {*choices, EXPLANATION}:
        raise unparsable
    for name, values in choices.items():
        if type(answer[name]) is not type(values[0]) or answer[name] not in values:  # True and 1.0 are no 1
            raise unparsable
    return {name: answer[name] for name in choices}
