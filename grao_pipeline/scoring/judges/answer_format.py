"""The form of a judge's answer: a JSON object whose fields each hold one of a few choices."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from grao_pipeline.schemas import Status
from grao_pipeline.scoring.judges.base import Reply

EXPLANATION = "explanation"
THOUGHT_END = re.compile(r"</think(?:ing)?>|</reasoning>|\[/THINK\]|<\|channel\|>final<\|message\|>")
"""The end of a reasoning model's thought."""
CODE_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)

Choices = Mapping[str, Sequence[str | int]]


class NoAnswer(Exception):
    """A judge's reply contains no answer.

    Args:
        status: status of the resulting judgement: `unparsable`, `truncated` or `error`.
        detail: the judge's words, or the reason why it gave none.
    """

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def answer_schema(choices: Choices, explain: bool = False) -> dict[str, object]:
    """The JSON schema of an object with these fields, whose values are among their choices.

    It uses only keywords that both OpenAI's strict mode and vLLM's grammars support.

    Args:
        explain: begin with a free text, so that the choice can follow from it.
    """
    fields: dict[str, Any] = {EXPLANATION: {"type": "string"}} if explain else {}
    for name, values in choices.items():
        kind = "integer" if isinstance(values[0], int) else "string"
        fields[name] = {"type": kind, "enum": list(values)}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def read_answer(reply: Reply, choices: Choices) -> dict[str, Any]:
    """The fields of a reply. They are checked, since not every server enforces the schema.

    The reply must be the JSON object and nothing else, but for a thought before it and a code fence around it.

    >>> read_answer(Reply('{"verdict": "A"}'), {"verdict": ["A", "B", "tie"]})
    {'verdict': 'A'}

    Raises:
        NoAnswer: the reply has no answer, or not in the form that was asked for.
    """
    if reply.status != "ok":
        raise NoAnswer(reply.status, reply.text)
    unparsable = NoAnswer("unparsable", reply.text or "the judge's reply is empty")
    try:
        answer = json.loads(_without_wrapping(reply.text), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise unparsable from None
    if not isinstance(answer, dict) or not choices.keys() <= answer.keys() <= {*choices, EXPLANATION}:
        raise unparsable
    for name, values in choices.items():
        if type(answer[name]) is not type(values[0]) or answer[name] not in values:  # True and 1.0 equal 1
            raise unparsable
    return {name: answer[name] for name in choices}


def _without_wrapping(text: str) -> str:
    """A reply without the thought before its answer and the code fence around it.

    >>> _without_wrapping('<think>Both are short.</think>\\n```json\\n{"verdict": "tie"}\\n```')
    '{"verdict": "tie"}'
    """
    answer = text.strip()
    if not answer.startswith("{"):  # an explanation may quote the end of a thought
        *_, end = (0, *(thought.end() for thought in THOUGHT_END.finditer(answer)))
        answer = answer[end:].strip()
    fenced = CODE_FENCE.fullmatch(answer)
    return fenced[1] if fenced else answer


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object whose keys are unique: two verdicts contradict each other.

    Raises:
        ValueError: a key appears twice.
    """
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key appears twice")
    return fields
