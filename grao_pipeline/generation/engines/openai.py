"""The server engine: samples through an OpenAI-compatible server, with token ids in and out where it can (vLLM can).

A first request of one token shows which format the server supports; it is used for the whole run:

    token ids   prompt and completions travel as token ids, with log-probs: the table equals that of the vllm engine
    text        with --allow-retokenize only: text travels, token ids are made from it, log-probs are unknown
    chat        with --api chat, or where the server has no completions: conversations go out, texts come back
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import Any

from pydantic import model_validator

from grao_pipeline.arguments import FreeArguments, PluginArguments, argument
from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.generation.engines.base import (
    SAMPLING_OPTIONS,
    Engine,
    EngineOptions,
    Request,
    Sample,
    SampledGroup,
    Sampling,
)
from grao_pipeline.generation.engines.chat_format import PATH as CHAT_PATH
from grao_pipeline.generation.engines.chat_format import ChatFormat, Piece
from grao_pipeline.generation.engines.request_formats import (
    RequestFormat,
    TextFormat,
    TextTokens,
    TokenIdFormat,
    refuse_beyond_standard,
    samples_of,
)
from grao_pipeline.models.pace import Pace
from grao_pipeline.models.server import Server
from grao_pipeline.models.server_errors import Refusal

PATH = "/completions"
ROUNDING = 1e-3
OPTIONS = {
    "model": "--served-model",
    "n": "--samples",
    "temperature": "--temperature",
    "top_p": "--top-p",
    "top_k": "--top-k",
    "min_p": "--min-p",
    "repetition_penalty": "--repetition-penalty",
    "stop": "--stop",
    "presence_penalty": "--sampling-arg presence_penalty=…",
    "frequency_penalty": "--sampling-arg frequency_penalty=…",
    "logit_bias": "--sampling-arg logit_bias.ID=…",
    "min_tokens": "--sampling-arg min_tokens=…",
    "max_tokens": "--max-new-tokens",
    "seed": "--seed",
}
"""Fields of a request that have an option."""
NO_COMPLETIONS = (404, 405, 501)
"""Status of a server without completions; some say with status 400 that a model is for chat alone."""
RESERVED = (
    *("prompt", "messages", "tools", "chat_template_kwargs", "max_completion_tokens", "response_format"),
    *("prompt_embeds", "truncate_prompt_tokens", "echo", "suffix", "best_of", "use_beam_search"),
    *("stop_token_ids", "include_stop_str_in_output", "ignore_eos", "skip_special_tokens"),
    *("logprobs", "logprob_token_ids", "return_token_ids", "return_tokens_as_token_ids", "allowed_token_ids"),
    *("stream", "stream_options", "request_id"),
)
"""Further fields that the table's content depends on."""


class OpenAISamplingArguments(PluginArguments):
    """Fields of a completion request. `min_tokens` is vLLM's, the others the standard's."""

    presence_penalty: float = argument(0.0, "Subtracted from the logits of tokens of the completion; 0: none.")
    frequency_penalty: float = argument(0.0, "The same for every time that the completion has the token; 0: none.")
    logit_bias: dict[int, float] | None = argument(None, "Added to the logit of a token ID: logit_bias.42=-100.")
    min_tokens: int = argument(0, "No end-of-turn token before this number of tokens.", ge=0)


class OpenAIArguments(FreeArguments):
    """Fields of every request's body. A server may ignore those that it does not know (vLLM does)."""

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, given: dict[str, object]) -> dict[str, object]:
        for name in sorted({*OPTIONS, *RESERVED}.intersection(given)):
            instead = f"Use {OPTIONS[name]}" if name in OPTIONS else "The table's content depends on it"
            raise ValueError(f"'{name}' cannot be set here. {instead}")
        return given


class OpenAIEngine(Engine):
    """Samples through an OpenAI-compatible server.

    Every further argument is passed on in the body of the requests, as JSON where it is JSON, e.g. `priority=1`.
    """

    Arguments = OpenAIArguments
    SamplingArguments = OpenAISamplingArguments
    sampling_options = SAMPLING_OPTIONS
    uses_device = False

    def __init__(self, options: EngineOptions, arguments: OpenAIArguments) -> None:
        """Ask the server for its models.

        Raises:
            UsageError: there is no `--base-url`, the server does not serve the model, or an option is for an engine in
                this process.
            StageFailure: the server cannot be reached.
        """
        if options.server is None:
            raise UsageError(
                "the openai engine needs a server's address, e.g. http://localhost:8000/v1.", option="base_url"
            )
        _check_options(options)
        self._model = options.model
        self._arguments = arguments
        self._options = options.server
        self._chat: ChatFormat | None = None
        self._server = Server(
            options.server.base_url,
            options.server.served_model,
            options.server.concurrency,
            options.server.retries,
            options.server.request_timeout,
            pace=Pace(options.server.requests_per_minute, options.server.tokens_per_minute),
        )
        self._served_model = self._server.model

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Keeps up to `--concurrency` requests in flight, across the boundaries of parts.

        Raises:
            UsageError: the server returns no token ids, and --allow-retokenize is not given.
            StageFailure: all tries of a request failed, or an answer cannot be right.
        """
        pending = (request for part in parts for request in part)
        first = next(pending, None)
        if first is None:
            return
        request_format = None if self._options.api == "chat" else self._supported_format(first, sampling)
        if request_format is None:
            yield from self._chatted(first, pending, sampling)
            return
        in_flight: dict[int, Request] = {}

        def bodies() -> Iterator[dict[str, object]]:
            for index, request in enumerate(chain([first], pending)):
                in_flight[index] = request
                yield request_format.body(request)

        with closing(self._server.post(PATH, bodies())) as answers:
            for index, answer in answers:
                request = in_flight.pop(index)
                if isinstance(answer, Refusal):
                    raise StageFailure(
                        f"{self._server.base_url} refuses the prompt in row {request.key[1]} of part {request.key[0]} "
                        f"({len(request.prompt_token_ids)} tokens, {request.max_new_tokens} more requested): "
                        f"{answer.message} If the server's context is shorter than the model's, give --max-model-len."
                    )
                yield [SampledGroup(request.key, samples_of(request_format, request, answer))]

    def remarks(self) -> list[str]:
        lines = self._server.remarks()
        if self._chat is not None:
            lines.append(
                "The samples are chat answers, as text alone: such groups are for references and judging. Their token "
                f"IDs {'are made from the text' if self._chat.encode else 'are unknown'}, and they have no log-probs."
            )
            lines += self._chat.remarks()
        return lines

    def _chatted(self, first: Request, pending: Iterator[Request], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Sample by `/chat/completions`. The first request is sent alone: it shows which fields the server accepts."""
        refuse_beyond_standard(sampling, self._server.base_url)
        further = sampling.arguments.model_dump(exclude_unset=True)
        arguments = {**self._arguments.given(), **further, "model": self._served_model}
        tokens = TextTokens(self._model, sampling.stop_token_ids) if self._model else None
        chat = ChatFormat(
            sampling,
            self._served_model,
            arguments,
            self._options.template_arguments,
            None if tokens is None else tokens.completion,
        )
        self._chat = chat
        yield [SampledGroup(first.key, chat.first_samples(first, lambda body: self._ask(body, CHAT_PATH)))]
        sent: list[Piece] = []
        sampled: dict[tuple[int, int], dict[int, list[Sample]]] = {}

        def bodies() -> Iterator[dict[str, object]]:
            for piece in chain.from_iterable(map(chat.pieces, pending)):
                sent.append(piece)
                yield chat.body(piece)

        with closing(self._server.post(CHAT_PATH, bodies())) as answers:
            for index, answer in answers:
                piece = sent[index]
                group = sampled.setdefault(piece.request.key, {})
                group[piece.first] = chat.samples(piece, answer)
                if len(group) == len(chat.pieces(piece.request)):
                    samples = [sample for _, part in sorted(sampled.pop(piece.request.key).items()) for sample in part]
                    yield [SampledGroup(piece.request.key, chat.completed(piece.request, samples))]

    def _supported_format(self, request: Request, sampling: Sampling) -> RequestFormat | None:
        """Request one token, the only one that is allowed, and see whether its id comes back. None: the server has no
        completions.
        """
        url = self._server.base_url
        token = next(iter(sampling.stop_token_ids), request.prompt_token_ids[-1])
        probe = {"n": 1, "max_tokens": 1, "temperature": 1.0, "logprobs": 1, "allowed_token_ids": [token]}
        token_ids = TokenIdFormat(sampling, {**self._arguments.given(), "model": self._served_model})
        answer = self._ask(token_ids.body(request) | probe)
        if not isinstance(answer, Refusal) and _first_choice(answer).get("token_ids") == [token]:
            _check_logprobs(_first_choice(answer).get("logprobs"), url)
            return token_ids
        if self._options.api == "auto" and isinstance(answer, Refusal) and _is_for_chat(answer):
            return None
        reason = answer.message if isinstance(answer, Refusal) else "the answer has no usable 'token_ids'"
        if not self._options.allow_retokenize:
            raise UsageError(
                f"{url} does not accept and return token ids ({reason}). Use a vLLM server, or --allow-retokenize: "
                "token ids are then made from the text, and log-probs are unknown. For references and judging, there "
                "is --api chat.",
                option="base_url",
            )
        refuse_beyond_standard(sampling, url)
        text = TextFormat(sampling, {**self._arguments.given(), "model": self._served_model}, self._model)
        answer = self._ask(text.body(request) | {"n": 1, "max_tokens": 1})
        if isinstance(answer, Refusal):
            raise StageFailure(f"{url} refuses token ids ({reason}) and a plain text prompt: {answer.message}")
        return text

    def _ask(self, body: Mapping[str, object], path: str = PATH) -> dict[str, Any] | Refusal:
        [(_, answer)] = self._server.post(path, [body])
        return answer


def _check_options(options: EngineOptions) -> None:
    """Refuse the options that only an engine in this process can follow.

    Raises:
        UsageError: names the first of them.
    """
    settings = {
        "quantization": options.quantization is not None,
        "tensor_parallel_size": options.tensor_parallel_size != 1,
        "gpu_memory_utilization": options.gpu_memory_utilization is not None,
    }
    for option, is_given in settings.items():
        if is_given:
            raise UsageError("the openai engine cannot change it. Set it where the server is started.", option=option)
    if options.adapter is not None and options.server is not None and options.server.served_model is None:
        raise UsageError(
            "the openai engine needs the server's name of the adapter. Give it as --served-model.", option="adapter"
        )


def _is_for_chat(refusal: Refusal) -> bool:
    """Whether a server refuses a completion because it has none."""
    return refusal.status in NO_COMPLETIONS or "chat" in refusal.message.lower()


def _first_choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices") or [{}]
    return choices[0] if isinstance(choices[0], Mapping) else {}


def _check_logprobs(logprobs: Any, url: str) -> None:
    """Check the log-prob of the only token that was allowed, and that of the most likely token.

    Under the untempered policy the allowed token has a part of the probability; under the masked and tempered
    distribution it has all of it, log-prob 0. The most likely token's entry is a log-prob only where it is at most 0;
    a positive one is a logit.

    Raises:
        StageFailure: they are not log-probs of the untempered policy.
    """
    try:
        [sampled], [likeliest] = logprobs["token_logprobs"], logprobs["top_logprobs"]
        is_untempered = sampled < 0 and all(logprob <= ROUNDING for logprob in likeliest.values())
    except (KeyError, TypeError, ValueError, AttributeError):
        is_untempered = False
    if not is_untempered:
        raise StageFailure(
            f"{url} does not return log-probs of the untempered policy. Start vLLM with "
            "--logprobs-mode raw_logprobs, its default."
        )
