"""How a server is asked for a JSON object: with a schema, for any object, or in words alone, by what it accepts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from grao_pipeline.models.server_errors import Refusal
from grao_pipeline.scoring.judges.base import Question

ResponseFormat = Literal["json_schema", "json_object", "text"]
LimitField = Literal["max_completion_tokens", "max_tokens"]
FORMAT_WORDS = ("response_format", "json_schema", "json_object", "schema", "structured", "guided")
"""A refusal that has one of them is about the format; with any other message it may be, or about the question."""
DESCRIPTIONS = {
    "json_object": "a JSON object without a schema (json_object), which is read strictly",
    "text": "plain text, which must be nothing but the JSON object",
}

Answer = dict[str, Any] | Refusal


@dataclass(frozen=True)
class RequestForm:
    """The fields of a request that not every server accepts.

    Example: `RequestForm("json_object", "max_tokens")`
    """

    response_format: ResponseFormat = "json_schema"
    limit: LimitField = "max_completion_tokens"

    def fields(self, question: Question, max_tokens: int) -> dict[str, object]:
        """The fields of the request of a question."""
        fields: dict[str, object] = {self.limit: max_tokens}
        if self.response_format == "json_schema":
            schema = {"name": "answer", "strict": True, "schema": question.schema}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.response_format == "json_object":
            fields["response_format"] = {"type": "json_object"}
        return fields

    def simpler(self, refusal: Refusal) -> "RequestForm | None":
        """The form to try after a refusal of this one; None if it is the plainest."""
        if self.limit == "max_completion_tokens" and self.limit in refusal.message:
            return RequestForm(self.response_format, "max_tokens")
        if self.response_format == "text":
            return None
        return RequestForm("json_object" if self.response_format == "json_schema" else "text", self.limit)


def find_form(ask: Callable[[RequestForm], Answer], first: RequestForm) -> tuple[RequestForm | None, Answer]:
    """Ask one question in simpler and simpler forms, until the server accepts one.

    Returns:
        the form that it accepts, and its answer. None where it refuses all of them, with its first refusal: the
        question may be at fault, so nothing is known about the server.
    """
    answer = ask(first)
    form: RequestForm | None = first
    refusals = []
    while form is not None and isinstance(answer, Refusal):
        refusals.append(answer)
        form = None if _is_about_the_text(answer, form) else form.simpler(answer)
        if form is not None:
            answer = ask(form)
    return form, refusals[0] if form is None else answer


def _is_about_the_text(refusal: Refusal, form: RequestForm) -> bool:
    """Whether a refusal says plainly that the format is not what it is about: the text is too long."""
    message = refusal.message.lower()
    if form.limit in message or any(word in message for word in FORMAT_WORDS):
        return False
    return "context length" in message or "too long" in message or "too many tokens" in message


def told(form: RequestForm, url: str) -> str | None:
    """What people should know about the form that a server accepts; None where it is the usual one."""
    if form.response_format == "json_schema":
        return None
    return (
        f"{url} does not accept a JSON schema as response_format; "
        f"the judge is asked for {DESCRIPTIONS[form.response_format]}."
    )
