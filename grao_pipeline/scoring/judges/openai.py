"""A judge behind an OpenAI-compatible server: vLLM's, or a hosted one."""

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from grao_pipeline.errors import UsageError
from grao_pipeline.models.server import Refusal, Server
from grao_pipeline.scoring.judges.base import ChatModelOptions, Question, Reply, free_values
from grao_pipeline.scoring.judges.control_tokens import neutralise
from grao_pipeline.scoring.rewards.arguments import positive_integer, positive_number

RESERVED = ("messages", "model", "response_format", "n", "stream", "max_tokens", "max_completion_tokens")


class OpenAIChatModel:
    """Asks through `/chat/completions`; the schema goes into the standard `response_format`.

    Arguments: base_url (required); served_model: the only one there, where not given; concurrency (64), retries (10),
    request_timeout (600 seconds); body.KEY=value: a further field of the request, as JSON where it is JSON, e.g.
    `body.reasoning_effort=low`, or `body.temperature=null` for models that take no temperature.
    """

    ARGUMENTS: ClassVar[Mapping[str, str | None]] = {
        "base_url": None,
        "served_model": "",
        "concurrency": "64",
        "retries": "10",
        "request_timeout": "600",
    }
    PREFIXES: ClassVar[Sequence[str]] = ("body",)

    def __init__(self, options: ChatModelOptions) -> None:
        arguments = options.arguments
        self._max_tokens = options.max_tokens
        self._body = {"temperature": 0.0, **_extra_fields(arguments)}
        self._server = Server(
            arguments["base_url"],
            arguments["served_model"] or None,
            positive_integer(options.reward, "concurrency", arguments["concurrency"]),
            positive_integer(options.reward, "retries", arguments["retries"], least=0),
            positive_number(options.reward, "request_timeout", arguments["request_timeout"]),
        )

    def identity(self) -> Mapping[str, Any]:
        return {"model": self._server.model, "body": self._body}

    def neutralise(self, text: str) -> str:
        """The server's tokenizer is not known here: what looks like a control token of any chat format is one."""
        return neutralise(text)

    def ask(self, questions: Iterable[Question]) -> Generator[tuple[int, Reply], None, None]:
        for index, answer in self._server.post("/chat/completions", map(self._request, questions)):
            yield index, _reply(answer)

    def _request(self, question: Question) -> dict[str, Any]:
        schema = {"name": "answer", "strict": True, "schema": question.schema}
        return {
            "model": self._server.model,
            "messages": question.messages,
            "response_format": {"type": "json_schema", "json_schema": schema},
            "max_completion_tokens": self._max_tokens,
            **self._body,
        }

    def close(self) -> None:
        pass


def _reply(answer: dict[str, Any] | Refusal) -> Reply:
    if isinstance(answer, Refusal):
        return Reply(f"the server refuses the question (status {answer.status}): {answer.message}", "error")
    usage = answer.get("usage") or {}
    prompt_tokens, completion_tokens = (int(usage.get(f"{kind}_tokens") or 0) for kind in ("prompt", "completion"))
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        refused = message.get("refusal") or choice.get("finish_reason") == "content_filter"
    except (KeyError, IndexError, TypeError, AttributeError):
        return Reply(f"the server's answer holds no reply: {json.dumps(answer)}", "unparsable")
    if refused:
        return Reply(
            f"the judge refuses: {message.get('refusal') or text}", "unparsable", prompt_tokens, completion_tokens
        )
    if choice.get("finish_reason") == "length":
        return Reply.cut_off(text, prompt_tokens, completion_tokens)
    return Reply(text, "ok", prompt_tokens, completion_tokens)


def _extra_fields(arguments: Mapping[str, str]) -> dict[str, Any]:
    """Fields of the request that were given as `body.KEY=value`."""
    extra = free_values(arguments, "body")
    for key in extra.keys() & set(RESERVED):
        raise UsageError(f"--reward-arg body.{key}: the judge sets it itself.")
    return extra
