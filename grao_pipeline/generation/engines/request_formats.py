"""Formats of a completion request: a group's request → the JSON of its body, and the answer → samples."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, Protocol, TypedDict

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.generation.engines.base import ABORTED, Request, Sample, Sampling
from grao_pipeline.models.chat import PromptTokenizer
from grao_pipeline.models.source import load_tokenizer, locate_files
from grao_pipeline.schemas import FinishReason

MAX_STOP_STRINGS = 4
"""OpenAI's limit. A completion is cut at its first stop token in any case."""


class TokenLogprobs(TypedDict):
    """Log-probs of a choice's tokens, in nats."""

    token_logprobs: list[float]


class Choice(TypedDict):
    """One of the completions in a server's answer; which of the fields are there depends on the request."""

    index: int
    finish_reason: FinishReason
    """What else a server may say here, e.g. `content_filter`, counts as aborted."""
    text: str
    token_ids: list[int]
    logprobs: TokenLogprobs
    prompt_token_ids: NotRequired[list[int] | None]
    stop_reason: NotRequired[int | str | None]
    """vLLM's: the stop string or the token ID that ended it."""


class Usage(TypedDict):
    """What a server counted."""

    prompt_tokens: NotRequired[int | None]


class Completion(TypedDict):
    """A server's answer to a completion request. Its shape is not known to be right until `samples_of` has read it."""

    choices: list[Choice]
    usage: NotRequired[Usage | None]


class RequestFormat(Protocol):
    """One way to send prompts to a server and to read its answers."""

    sampling: Sampling

    def body(self, request: Request) -> dict[str, object]:
        """The JSON of a request."""
        ...

    def check_prompt(self, request: Request, answer: Completion) -> None:
        """Check that the server saw the prompt of the request.

        Raises:
            StageFailure: it saw another one.
        """
        ...

    def sample(self, request: Request, choice: Choice) -> Sample:
        """The sample of a choice that ended by a stop token or at its length.

        Raises:
            StageFailure: the choice cannot be right.
        """
        ...


class TokenIdFormat:
    """vLLM's fields: token ids in both directions, exactly as its engine has them."""

    def __init__(self, sampling: Sampling, fields: Mapping[str, object]) -> None:
        self.sampling = sampling
        self._fields = fields

    def body(self, request: Request) -> dict[str, object]:
        return {
            **self._fields,
            **_common_fields(request, self.sampling),
            "prompt": request.prompt_token_ids,
            "top_k": self.sampling.top_k,
            "min_p": self.sampling.min_p,
            "repetition_penalty": self.sampling.repetition_penalty,
            **self.sampling.arguments.model_dump(exclude_none=True),
            "stop": list(self.sampling.stop),
            "stop_token_ids": list(self.sampling.stop_token_ids),
            "logprobs": 0,  # of the sampled token only
            "return_token_ids": True,
        }

    def check_prompt(self, request: Request, answer: Completion) -> None:
        for choice in answer["choices"]:
            ids = choice.get("prompt_token_ids")
            if ids is not None and ids != request.prompt_token_ids:
                raise StageFailure(f"The server sampled from other prompt token ids than it received: {ids[:20]} …")

    def sample(self, request: Request, choice: Choice) -> Sample:
        ids, reason = list(choice["token_ids"]), choice["finish_reason"]
        is_by_text = isinstance(choice.get("stop_reason"), str)
        if reason == "stop" and not is_by_text and ids[-1] not in self.sampling.stop_token_ids:
            raise StageFailure(
                f"The server ended a completion at token {ids[-1]}, which is not an end-of-turn token of --model "
                f"(those are {list(self.sampling.stop_token_ids)}). Does the server serve the same model?"
            )
        if reason == "length" and len(ids) < request.max_new_tokens:
            raise StageFailure(
                f"The server ended a completion at {len(ids)} of {request.max_new_tokens} tokens, after a prompt of "
                f"{len(request.prompt_token_ids)}: its context is shorter, or its generation_config.json has a "
                "max_new_tokens. Lower --max-model-len or --max-new-tokens."
            )
        return Sample(ids, [float(logprob) for logprob in choice["logprobs"]["token_logprobs"]], reason)


class TextTokens:
    """A tokenizer for the texts of servers that return no token ids.

    Args:
        model: directory of the tokenizer.
    """

    def __init__(self, model: str, stop_token_ids: Sequence[int]) -> None:
        self._tokenizer: Any = load_tokenizer(locate_files(model))
        self._stop_token_ids = stop_token_ids
        self.end_of_turn = self._likely_end_of_turn()

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False)]

    def completion(self, text: str, is_complete: bool) -> tuple[list[int], bool]:
        """The token ids of a completion, up to its first stop token, and whether it has ended; that of a complete text
        is added.
        """
        ids = self.encode(text)
        stop = next((index for index, token in enumerate(ids) if token in self._stop_token_ids), None)
        if stop is not None:
            return ids[: stop + 1], True
        return ([*ids, self.end_of_turn] if is_complete else ids), is_complete

    def _likely_end_of_turn(self) -> int:
        """The stop token that the server has most likely sampled where its text does not show it."""
        tokenizer = PromptTokenizer(self._tokenizer, self._stop_token_ids)
        token = tokenizer.reference([{"role": "user", "content": "q"}], "a")[-1]
        return token if token in self._stop_token_ids else int(self._tokenizer.eos_token_id)


class TextFormat:
    """OpenAI's standard fields: text in both directions.

    Args:
        model: directory of the tokenizer that makes text from token ids and token ids from text.
    """

    def __init__(self, sampling: Sampling, fields: Mapping[str, object], model: str) -> None:
        self.sampling = sampling
        self._fields = fields
        self._tokens = TextTokens(model, sampling.stop_token_ids)
        stop_tokens = dict.fromkeys([self._tokens.end_of_turn, *sampling.stop_token_ids])
        self._stop_strings = [self._tokens.decode([token]) for token in stop_tokens][:MAX_STOP_STRINGS]

    def body(self, request: Request) -> dict[str, object]:
        prompt = self._tokens.decode(request.prompt_token_ids)
        if self._tokens.encode(prompt) != request.prompt_token_ids:
            raise StageFailure(
                f"The token ids of the prompt in row {request.key[1]} of part {request.key[0]} change when its text is "
                f"tokenized again, so a server without token ids cannot sample from it: {prompt[:80]!r} …"
            )
        fields = _common_fields(request, self.sampling)
        fields |= self.sampling.arguments.model_dump(exclude_unset=True)
        return {**self._fields, **fields, "prompt": prompt, "stop": self._stop_strings}

    def check_prompt(self, request: Request, answer: Completion) -> None:
        num_tokens = (answer.get("usage") or {}).get("prompt_tokens")
        if num_tokens is not None and num_tokens != len(request.prompt_token_ids):
            raise StageFailure(
                f"The server saw a prompt of {num_tokens} tokens where --model has {len(request.prompt_token_ids)}: it "
                "adds special tokens to a text prompt, or has another tokenizer. Such samples are not the policy's."
            )

    def sample(self, request: Request, choice: Choice) -> Sample:
        ids, has_ended = self._tokens.completion(choice["text"], choice["finish_reason"] == "stop")
        return Sample(ids, None, "stop" if has_ended else "length", retokenized=True)


def refuse_beyond_standard(sampling: Sampling, url: str) -> None:
    """Check that OpenAI's standard fields can say how to sample.

    Raises:
        UsageError: names the first option that has no such field.
    """
    extensions = {
        "top_k": sampling.top_k != 0,
        "min_p": sampling.min_p != 0.0,
        "repetition_penalty": sampling.repetition_penalty != 1.0,
    }
    for option, is_given in extensions.items():
        if is_given:
            raise UsageError(
                f"the standard fields of a completion request have no '{option}', and {url} does not return token ids, "
                "as vLLM's server does, which has it. Leave it out, or use a vLLM server.",
                option=option,
            )
    if sampling.stop:
        raise UsageError(
            f"{url} does not return token ids, nor whether a stop string or the end of the turn ended a completion. "
            "Leave it out, or use a vLLM server.",
            option="stop",
        )
    if getattr(sampling.arguments, "min_tokens", 0):
        raise UsageError(
            f"min_tokens is a field of vLLM's server; {url} is another one. Leave it out.", option="sampling_arg"
        )


def samples_of(request_format: RequestFormat, request: Request, answer: Any) -> list[Sample]:
    """The samples of a request, in the order of their seeds.

    Raises:
        StageFailure: the answer does not fit the request.
    """
    try:
        request_format.check_prompt(request, answer)
        samples = {choice["index"]: _sample(request_format, request, choice) for choice in answer["choices"]}
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise StageFailure(f"The server's answer is not a completion ({error!r}): {answer!r:.300}") from error
    num_choices = _num_choices(request, request_format.sampling)
    if sorted(samples) != list(range(num_choices)):
        raise StageFailure(f"The server returned choices {sorted(samples)} for n={num_choices}.")
    return [samples[index] for index in range(num_choices)] * (request.num_samples // num_choices)


def _sample(request_format: RequestFormat, request: Request, choice: Choice) -> Sample:
    if choice["finish_reason"] not in ("stop", "length"):
        return ABORTED
    sample = request_format.sample(request, choice)
    if sample.logprobs is not None and len(sample.logprobs) != len(sample.token_ids):
        raise StageFailure(
            f"The server returned {len(sample.logprobs)} log-probs for {len(sample.token_ids)} token ids."
        )
    return sample if sample.token_ids else ABORTED


def _common_fields(request: Request, sampling: Sampling) -> dict[str, object]:
    return {
        "n": _num_choices(request, sampling),
        "seed": request.seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": request.max_new_tokens,
    }


def _num_choices(request: Request, sampling: Sampling) -> int:
    """One where sampling is greedy: the choices would be equal, and servers refuse n > 1."""
    return request.num_samples if sampling.temperature > 0 else 1
