"""A judge on an OpenAI-compatible server: vLLM's, or a hosted one."""

import json
from collections.abc import Generator, Iterable, Mapping
from typing import Annotated, Any

from pydantic import NonNegativeInt, PositiveFloat

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.models.server import MAX_CONNECTIONS, Refusal, Server
from grao_pipeline.models.server_defaults import CONCURRENCY, REQUEST_TIMEOUT, RETRIES
from grao_pipeline.scoring.engine_arguments import without_keys
from grao_pipeline.scoring.judges.base import ChatModel, ChatModelOptions, Question, Reply

RESERVED = ("messages", "model", "response_format", "n", "stream", "max_tokens", "max_completion_tokens")


class OpenAIChatModel(ChatModel):
    """Asks an OpenAI-compatible server through `/chat/completions`, with the schema as `response_format`.

    The server's tokenizer is unknown, so everything that looks like a control token of any chat format is broken up.
    """

    class Arguments(PluginArguments):
        base_url: str = argument(..., "URL of the server up to its version, e.g. http://localhost:8000/v1.")
        served_model: str | None = argument(None, "Name of the model; default: the only model that is served.")
        concurrency: int = argument(CONCURRENCY, "Requests in flight.", ge=1, le=MAX_CONNECTIONS)
        retries: NonNegativeInt = argument(RETRIES, "Further tries of a request that failed.")
        request_timeout: PositiveFloat = argument(REQUEST_TIMEOUT, "Seconds to wait for an answer before the next try.")
        body: Annotated[dict[str, Any], without_keys("body", RESERVED)] = argument(
            {},
            "body.KEY=value: a further field of the request, read as JSON where it is JSON, e.g. "
            "body.reasoning_effort=low, or body.temperature=null for models without temperature.",
        )

    def __init__(self, arguments: Arguments, options: ChatModelOptions) -> None:
        super().__init__(arguments, options)
        self._body = {"temperature": 0.0, **arguments.body}
        self._server = Server(
            arguments.base_url,
            arguments.served_model,
            arguments.concurrency,
            arguments.retries,
            arguments.request_timeout,
            option="reward_arg",
        )

    def identity(self) -> Mapping[str, object]:
        return {"model": self._server.model, "body": self._body}

    def ask(self, questions: Iterable[Question]) -> Generator[tuple[int, Reply], None, None]:
        for index, answer in self._server.post("/chat/completions", map(self._request, questions)):
            yield index, _reply(answer)

    def _request(self, question: Question) -> dict[str, object]:
        schema = {"name": "answer", "strict": True, "schema": question.schema}
        return {
            "model": self._server.model,
            "messages": question.messages,
            "response_format": {"type": "json_schema", "json_schema": schema},
            "max_completion_tokens": self.options.max_tokens,
            **self._body,
        }


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
        return Reply(f"the server's answer has no reply: {json.dumps(answer)}", "unparsable")
    if refused:
        refusal = f"the judge refuses: {message.get('refusal') or text}"
        return Reply(refusal, "unparsable", prompt_tokens, completion_tokens)
    if choice.get("finish_reason") == "length":
        return Reply.cut_off(text, prompt_tokens, completion_tokens)
    return Reply(text, "ok", prompt_tokens, completion_tokens)
