"""The server engine: samples through any OpenAI-compatible server, token ids in and out where it can (vLLM can).

A first request of one token finds out what the server speaks; what is found holds for the whole run:

    token ids   prompt and completions travel as token ids, log-probs with them: the table is vLLM's own
    text        with --allow-retokenize only: text travels, ids are made from it, log-probs are not known
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import Any, Protocol

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.generation.engines.base import EngineOptions, Request, Sample, SampledGroup, Sampling
from grao_pipeline.models.chat import PromptTokenizer
from grao_pipeline.models.server import Refusal, Server
from grao_pipeline.plugins import require

PATH = "/completions"
ABORTED = Sample([], [], "abort")
MOST_STOP_STRINGS = 4
"""OpenAI's limit. A completion is cut at its first stop token in any case."""
ROUNDING = 1e-3
# vLLM fills in what a request leaves out from the model's generation_config.json.
NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
# What the groups table says of itself rests on these; the first have an option of their own.
RESERVED = {
    "model": "--served-model",
    "n": "--samples",
    "temperature": "--temperature",
    "top_p": "--top-p",
    "max_tokens": "--max-new-tokens",
    "seed": "--seed",
    **dict.fromkeys(
        [
            *("prompt", "prompt_embeds", "truncate_prompt_tokens", "echo", "suffix", "best_of", "use_beam_search"),
            *("stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "skip_special_tokens"),
            *("logprobs", "logprob_token_ids", "return_token_ids", "return_tokens_as_token_ids", "allowed_token_ids"),
            *("stream", "stream_options", "request_id"),
        ]
    ),
}


class OpenAIEngine:
    """Samples through an OpenAI-compatible server.

    `--engine-arg key=value` becomes a field of every request's body, e.g. `priority=1`; values are read as JSON where
    they are JSON. A server may ignore fields that it does not know (vLLM does).

    Raises:
        UsageError: there is no `--base-url`, the model is not served, or an option means an engine of one's own.
        StageFailure: there is no server at that URL.
    """

    def __init__(self, options: EngineOptions) -> None:
        if options.server is None:
            raise UsageError("--engine openai needs --base-url, e.g. --base-url http://localhost:8000/v1.")
        _refuse_options_of_the_server(options)
        chosen = options.server
        self._model = options.model
        self._allow_retokenize = chosen.allow_retokenize
        self._fields = _further_fields(options.arguments)
        self._server = Server(
            chosen.base_url, chosen.served_model, chosen.concurrency, chosen.retries, chosen.timeout_seconds
        )
        self._fields["model"] = self._server.model  # asked for now: before anything is sampled

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Keeps as many requests in flight as `--concurrency` allows, across the borders of parts.

        Raises:
            UsageError: the server gives no token ids, and that was not allowed.
            StageFailure: a request failed for good, or its answer cannot be right.
        """
        pending = (request for part in parts for request in part)
        first = next(pending, None)
        if first is None:
            return
        language = self._find_language(first, sampling)
        in_flight: dict[int, Request] = {}

        def bodies() -> Iterator[dict[str, Any]]:
            for index, request in enumerate(chain([first], pending)):
                in_flight[index] = request
                yield language.body(request)

        with closing(self._server.post(PATH, bodies())) as answers:
            for index, answer in answers:
                request = in_flight.pop(index)
                if isinstance(answer, Refusal):
                    raise StageFailure(
                        f"{self._server.base_url} refuses the prompt in row {request.key[1]} of part {request.key[0]} "
                        f"({len(request.prompt_token_ids)} tokens, {request.max_new_tokens} more asked for): "
                        f"{answer.message} If the server's context is shorter than the model's, give --max-model-len."
                    )
                yield [SampledGroup(request.key, _samples(language, request, sampling, answer))]

    def close(self) -> None:
        """Nothing to free: the server is somebody else's."""

    def _find_language(self, request: Request, sampling: Sampling) -> "_Language":
        """Ask for one token, the only one that is allowed, and see what comes back."""
        url = self._server.base_url
        token = sampling.stop_token_ids[0]
        probe = {"n": 1, "max_tokens": 1, "temperature": 1.0, "logprobs": 1, "allowed_token_ids": [token]}
        token_ids = _TokenIds(sampling, self._fields)
        answer = self._ask(token_ids.body(request) | probe)
        if not isinstance(answer, Refusal) and _first_choice(answer).get("token_ids") == [token]:
            _check_logprobs(_first_choice(answer).get("logprobs"), url)
            return token_ids
        said = answer.message if isinstance(answer, Refusal) else "the answer has no usable 'token_ids'"
        if not self._allow_retokenize:
            raise UsageError(
                f"{url} does not sample token ids for token ids ({said}). Use a vLLM server, or --allow-retokenize: "
                "token ids are then made from the text, and log-probs are not known."
            )
        text = _Text(sampling, self._fields, self._model)
        answer = self._ask(text.body(request) | {"n": 1, "max_tokens": 1})
        if isinstance(answer, Refusal):
            raise StageFailure(f"{url} refuses token ids ({said}) and a plain text prompt: {answer.message}")
        return text

    def _ask(self, body: Mapping[str, Any]) -> dict[str, Any] | Refusal:
        [(_, answer)] = self._server.post(PATH, [body])
        return answer


class _Language(Protocol):
    """How to put a request to a server, and how to read its answer."""

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON of a request."""
        ...

    def check_prompt(self, request: Request, answer: Mapping[str, Any]) -> None:
        """Raise StageFailure where the server saw another prompt."""
        ...

    def sample(self, request: Request, choice: Mapping[str, Any]) -> Sample:
        """The sample of a choice that was not aborted."""
        ...


class _TokenIds:
    """vLLM's fields: token ids both ways, exactly as its engine has them."""

    def __init__(self, sampling: Sampling, fields: Mapping[str, Any]) -> None:
        self._sampling = sampling
        self._fields = NEUTRAL | dict(fields)

    def body(self, request: Request) -> dict[str, Any]:
        return {
            **self._fields,
            **_common_fields(request, self._sampling),
            "prompt": request.prompt_token_ids,
            "stop_token_ids": list(self._sampling.stop_token_ids),
            "logprobs": 0,  # of the sampled token only
            "return_token_ids": True,
        }

    def check_prompt(self, request: Request, answer: Mapping[str, Any]) -> None:
        for choice in answer["choices"]:
            found = choice.get("prompt_token_ids")
            if found is not None and found != request.prompt_token_ids:
                raise StageFailure(f"The server sampled from other prompt token ids than it was sent: {found[:20]} …")

    def sample(self, request: Request, choice: Mapping[str, Any]) -> Sample:
        ids, reason = list(choice["token_ids"]), choice["finish_reason"]
        if reason == "stop" and ids[-1] not in self._sampling.stop_token_ids:
            raise StageFailure(
                f"The server ended a completion at token {ids[-1]}, which ends no turn of --model "
                f"(those do: {list(self._sampling.stop_token_ids)}). Does it serve the same model?"
            )
        if reason == "length" and len(ids) < request.max_new_tokens:
            raise StageFailure(
                f"The server ended a completion at {len(ids)} of {request.max_new_tokens} tokens, behind a prompt of "
                f"{len(request.prompt_token_ids)}: its context is shorter, or its generation_config.json has a "
                "max_new_tokens. Lower --max-model-len or --max-new-tokens."
            )
        return Sample(ids, [float(logprob) for logprob in choice["logprobs"]["token_logprobs"]], reason)


class _Text:
    """OpenAI's own fields: text both ways."""

    def __init__(self, sampling: Sampling, fields: Mapping[str, Any], model: str) -> None:
        self._sampling = sampling
        self._fields = fields
        self._tokenizer: Any = require("transformers").AutoTokenizer.from_pretrained(model)
        self._end_of_turn = self._token_behind_an_answer()
        ends = dict.fromkeys([self._end_of_turn, *sampling.stop_token_ids])
        self._stops = [self._decode([token]) for token in ends][:MOST_STOP_STRINGS]

    def body(self, request: Request) -> dict[str, Any]:
        prompt = self._decode(request.prompt_token_ids)
        if self._encode(prompt) != request.prompt_token_ids:
            raise StageFailure(
                f"The prompt in row {request.key[1]} of part {request.key[0]} is not the same token ids again when its "
                f"text is tokenized, so a server without token ids cannot sample from it: {prompt[:80]!r} …"
            )
        return {**self._fields, **_common_fields(request, self._sampling), "prompt": prompt, "stop": self._stops}

    def check_prompt(self, request: Request, answer: Mapping[str, Any]) -> None:
        seen = (answer.get("usage") or {}).get("prompt_tokens")
        if seen is not None and seen != len(request.prompt_token_ids):
            raise StageFailure(
                f"The server saw a prompt of {seen} tokens where --model has {len(request.prompt_token_ids)}: it adds "
                "special tokens to a text prompt, or its tokenizer is another. Such samples are not the policy's."
            )

    def sample(self, request: Request, choice: Mapping[str, Any]) -> Sample:
        ids, reason = self._encode(choice["text"]), choice["finish_reason"]
        stop = next((index for index, token in enumerate(ids) if token in self._sampling.stop_token_ids), None)
        if stop is not None:
            ids, reason = ids[: stop + 1], "stop"
        elif reason == "stop":
            ids.append(self._end_of_turn)
        return Sample(ids, None, reason, retokenized=True)

    def _token_behind_an_answer(self) -> int:
        """The stop token that a server which does not return it has most likely sampled."""
        tokenizer = PromptTokenizer(self._tokenizer, self._sampling.stop_token_ids)
        token = tokenizer.reference([{"role": "user", "content": "q"}], "a")[-1]
        return token if token in self._sampling.stop_token_ids else int(self._tokenizer.eos_token_id)

    def _decode(self, token_ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _encode(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False)]


def _common_fields(request: Request, sampling: Sampling) -> dict[str, Any]:
    return {
        "n": _num_choices(request, sampling),
        "seed": request.seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": request.max_new_tokens,
    }


def _num_choices(request: Request, sampling: Sampling) -> int:
    """One where sampling is greedy: servers refuse more, and they would be equal."""
    return request.num_samples if sampling.temperature > 0 else 1


def _samples(language: _Language, request: Request, sampling: Sampling, answer: Mapping[str, Any]) -> list[Sample]:
    """The samples of a request, in the order of their seeds.

    Raises:
        StageFailure: the answer is not one to this request.
    """
    try:
        language.check_prompt(request, answer)
        samples = {choice["index"]: _sample(language, request, choice) for choice in answer["choices"]}
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise StageFailure(f"The server's answer is not a completion ({error!r}): {answer!r:.300}") from error
    num_choices = _num_choices(request, sampling)
    if sorted(samples) != list(range(num_choices)):
        raise StageFailure(f"The server returned choices {sorted(samples)} where n={num_choices} was asked for.")
    return [samples[index] for index in range(num_choices)] * (request.num_samples // num_choices)


def _sample(language: _Language, request: Request, choice: Mapping[str, Any]) -> Sample:
    if choice["finish_reason"] not in ("stop", "length"):
        return ABORTED
    sample = language.sample(request, choice)
    if sample.logprobs is not None and len(sample.logprobs) != len(sample.token_ids):
        raise StageFailure(f"The server gives {len(sample.logprobs)} log-probs for {len(sample.token_ids)} token ids.")
    return sample if sample.token_ids else ABORTED


def _first_choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices") or [{}]
    return choices[0] if isinstance(choices[0], Mapping) else {}


def _check_logprobs(logprobs: Any, url: str) -> None:
    """Check the log-probs behind one token that was the only one allowed, and of the likeliest one.

    The untempered policy gives the first some of its probability; a distribution after masking and tempering gives it
    all, log-prob 0. The likeliest token's logit is above 0.

    Raises:
        StageFailure: they are not log-probs of the untempered policy.
    """
    try:
        [sampled], [likeliest] = logprobs["token_logprobs"], logprobs["top_logprobs"]
        untempered = sampled < 0 and all(logprob <= ROUNDING for logprob in likeliest.values())
    except (KeyError, TypeError, ValueError, AttributeError):
        untempered = False
    if not untempered:
        raise StageFailure(
            f"{url} does not give log-probs of the untempered policy. Start vLLM with --logprobs-mode raw_logprobs, "
            "which is its default."
        )


def _refuse_options_of_the_server(options: EngineOptions) -> None:
    """Options that only an engine in this process can obey."""
    settings = {
        "--quantization": options.quantization is not None,
        "--tensor-parallel-size": options.tensor_parallel_size != 1,
        "--gpu-memory-utilization": options.gpu_memory_utilization is not None,
    }
    for option, is_given in settings.items():
        if is_given:
            raise UsageError(f"{option} means an engine in this process; give it to the server of --engine openai.")
    if options.adapter is not None and options.server is not None and options.server.served_model is None:
        raise UsageError("--adapter with --engine openai: say with --served-model what the server calls the adapter.")


def _further_fields(arguments: Mapping[str, str]) -> dict[str, Any]:
    for name in RESERVED.keys() & arguments.keys():
        instead = f"Use {RESERVED[name]}." if RESERVED[name] else "The groups table depends on its value."
        raise UsageError(f"--engine-arg {name}: cannot be set here. {instead}")
    return {name: _parse(value) for name, value in arguments.items()}


def _parse(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
