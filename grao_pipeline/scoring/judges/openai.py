"""A judge on an OpenAI-compatible server: vLLM's, or a hosted one."""

import reprlib
from collections.abc import Generator, Iterable, Mapping
from typing import Annotated, Any

from pydantic import NonNegativeInt, PositiveFloat

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.models.pace import Pace
from grao_pipeline.models.server import MAX_CONNECTIONS, Server
from grao_pipeline.models.server_defaults import CONCURRENCY, REQUEST_TIMEOUT, RETRIES
from grao_pipeline.models.server_errors import Refusal
from grao_pipeline.scoring.engine_arguments import without_keys
from grao_pipeline.scoring.judges.base import ChatModel, ChatModelOptions, Question, Reply
from grao_pipeline.scoring.judges.batch_records import BatchRecords
from grao_pipeline.scoring.judges.batches import PATH, Batches
from grao_pipeline.scoring.judges.request_forms import RequestForm, find_form, told

MAX_UNDECIDED = 4
"""Questions that are asked in all forms; if a server refuses this many, its refusals are about something else."""
MOST_TOKENS = 1 << 40
"""A larger count counts as 0."""
RESERVED = ("messages", "model", "response_format", "n", "stream", "max_tokens", "max_completion_tokens")


class OpenAIChatModel(ChatModel):
    """Asks an OpenAI-compatible server through `/chat/completions`, with the schema as `response_format`.

    A server that refuses the schema is asked for a JSON object (`json_object`), and one that refuses that, too, in
    words alone. The first question that it answers decides, for all questions.

    The server's tokenizer is unknown, so everything that looks like a control token of any chat format is broken up.
    """

    takes_batches = True

    class Arguments(PluginArguments):
        base_url: str = argument(
            ...,
            "URL of the server up to its version, e.g. http://localhost:8000/v1.",
            examples=["http://localhost:8000/v1"],
        )
        served_model: str | None = argument(None, "Name of the model; default: the only model that is served.")
        concurrency: int = argument(CONCURRENCY, "Requests in flight.", ge=1, le=MAX_CONNECTIONS)
        retries: NonNegativeInt = argument(RETRIES, "Further tries of a request that failed.")
        request_timeout: PositiveFloat = argument(REQUEST_TIMEOUT, "Seconds to wait for an answer before the next try.")
        requests_per_minute: PositiveFloat | None = argument(None, "Send at most this many requests a minute.")
        tokens_per_minute: PositiveFloat | None = argument(
            None, "Send at most this many tokens a minute, answers (at their limit until they are there) included."
        )
        batch_poll_seconds: PositiveFloat = argument(30.0, "With --batch: seconds between two looks at a batch.")
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
            pace=Pace(arguments.requests_per_minute, arguments.tokens_per_minute),
        )
        self._form: RequestForm | None = None
        self._num_undecided = 0
        self._poll_seconds = arguments.batch_poll_seconds
        self._known: dict[str, Reply] = {}

    def identity(self) -> Mapping[str, object]:
        return {"model": self._server.model, "body": self._body}

    def ask(self, questions: Iterable[Question]) -> Generator[tuple[int, Reply], None, None]:
        if not self._known:
            yield from self._ask_now(questions)
            return
        unknown = []
        for index, question in enumerate(questions):
            reply = self._known.get(self._custom_id(question))
            if reply is None:
                unknown.append((index, question))
            else:
                yield index, reply
        for number, reply in self._ask_now(question for _, question in unknown):
            yield unknown[number][0], reply

    def _ask_now(self, questions: Iterable[Question]) -> Generator[tuple[int, Reply], None, None]:
        rest = iter(questions)
        num_asked = 0
        while self._form is None and (question := next(rest, None)) is not None:
            yield num_asked, _reply(self._ask_first(question))
            num_asked += 1
        for index, answer in self._server.post(PATH, map(self._request, rest)):
            yield num_asked + index, _reply(answer)

    def ask_ahead(self, questions: Iterable[Question]) -> None:
        assert self.options.batches is not None
        records = BatchRecords(self.options.batches)
        batches = Batches(self._server, records, self._poll_seconds, self.options.progress)
        self._form, direct = records.direct()
        self._known |= direct
        submitted = batches.submitted()
        questions_by_id = ((self._custom_id(question), question) for question in questions)
        by_id = {custom_id: question for custom_id, question in questions_by_id if custom_id not in self._known}
        while self._form is None and (custom_id := next((key for key in by_id if key not in submitted), None)):
            self._known[custom_id] = _reply(self._ask_first(by_id.pop(custom_id)))
            if self._form is not None:
                records.save_direct(self._form, {custom_id: self._known[custom_id]})
        form = self._form or RequestForm()  # all of them are in batches already
        bodies = {custom_id: self._body_of(question, form) for custom_id, question in by_id.items()}
        for custom_id, answer in batches.answers(bodies):
            self._known[custom_id] = _reply(answer)

    def stored(self) -> None:
        if self.options.batches is not None:
            BatchRecords(self.options.batches).clear()

    def remarks(self) -> list[str]:
        return self._server.remarks()

    def _custom_id(self, question: Question) -> str:
        """Identity of a question to this model."""
        return fingerprint([self.identity(), self.options.max_tokens, list(question.messages), question.schema])

    def _ask_first(self, question: Question) -> dict[str, Any] | Refusal:
        """Ask a question, and find out which form of it the server accepts."""

        def ask(form: RequestForm) -> dict[str, Any] | Refusal:
            [(_, answer)] = self._server.post(PATH, [self._body_of(question, form)])
            return answer

        self._form, answer = find_form(ask, RequestForm())
        if self._form is None:
            self._num_undecided += 1
            self._form = RequestForm() if self._num_undecided == MAX_UNDECIDED else None
        elif remark := told(self._form, self._server.base_url):
            self.options.progress.note(remark)
        return answer

    def _request(self, question: Question) -> dict[str, object]:
        assert self._form is not None
        return self._body_of(question, self._form)

    def _body_of(self, question: Question, form: RequestForm) -> dict[str, object]:
        fields = form.fields(question, self.options.max_tokens)
        return {"model": self._server.model, "messages": question.messages, **fields, **self._body}


def _reply(answer: dict[str, Any] | Refusal) -> Reply:
    """What a server's answer says; whatever is in it, it is a reply or the reason for its absence."""
    if isinstance(answer, Refusal):
        return Reply(f"the server refuses the question (status {answer.status}): {answer.message}", "error")
    usage = answer.get("usage")
    prompt_tokens, completion_tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text = _text(message.get("content"))
        refusal, reason = message.get("refusal"), choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return Reply(f"the server's answer has no reply: {reprlib.repr(answer)}", "unparsable")
    if refusal or reason == "content_filter":
        words = f"the judge refuses: {refusal or text}".encode("utf-8", "replace").decode()
        return Reply(words, "unparsable", prompt_tokens, completion_tokens)
    if reason == "length":
        return Reply.cut_off(text, prompt_tokens, completion_tokens)
    return Reply(text, "ok", prompt_tokens, completion_tokens)


def _text(content: object) -> str:
    """The text of a message, which may be a list of parts.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type", "text") == "text")
    if content is not None and not isinstance(content, str):
        raise TypeError(f"content is {type(content).__name__}")
    return (content or "").encode("utf-8", "replace").decode()


def _count(usage: object, name: str) -> int:
    """A number of tokens; 0 where the server does not count them, or not in numbers."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value < MOST_TOKENS else 0
