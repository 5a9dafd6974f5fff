"""Requests to `/chat/completions`: conversations go out, texts come back; token ids are made from them, if at all.

Servers differ in the fields that they know. The first request finds out: a field that a refusal names is renamed or
left out, and where fewer choices come back than were requested, every sample gets its own request.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from grao_pipeline.amounts import some
from grao_pipeline.errors import StageFailure
from grao_pipeline.generation.engines.base import ABORTED, Request, Sample, Sampling
from grao_pipeline.json_text import parse_json
from grao_pipeline.messages import Message
from grao_pipeline.models.server_errors import Refusal

PATH = "/chat/completions"
STOPPED = ("stop", "tool_calls", "function_call", "eos")
"""Finish reasons of a complete answer."""
THINK = "<think>\n{}\n</think>\n\n"
"""How a server's separate reasoning is written into the text of a completion."""

Answer = dict[str, Any] | Refusal
Encode = Callable[[str, bool], tuple[list[int], bool]]
"""(text, whether it is complete) → its token ids, with the end of the turn if it is complete; whether it has ended."""


@dataclass(frozen=True)
class ChatFields:
    """The fields of a request that not every server accepts.

    Example: `ChatFields(limit="max_completion_tokens", has_seed=False, has_choices=False)`
    """

    limit: str = "max_tokens"
    has_seed: bool = True
    has_choices: bool = True
    """Several choices of one request, `n`."""

    def after(self, refusal: Refusal, num_choices: int) -> "ChatFields | None":
        """The fields to try after a refusal; None if it is about something else."""
        message = refusal.message.lower()
        if self.limit == "max_tokens" and "max_tokens" in message and "max_completion_tokens" in message:
            return replace(self, limit="max_completion_tokens")
        if self.has_seed and "seed" in message:
            return replace(self, has_seed=False)
        return replace(self, has_choices=False) if self.has_choices and num_choices > 1 else None


@dataclass(frozen=True)
class Piece:
    """Samples of a group that one request gets: `count` from number `first` on."""

    request: Request
    first: int
    count: int


@dataclass
class ChatFormat:
    """Makes requests and reads answers.

    Args:
        arguments: further fields of every request.
        template_arguments: of the server's chat template.
        encode: makes token ids of a text; None where there is no tokenizer.

    Attributes:
        refused: the messages of prompts that the server refused.
        tokens: of prompts and completions, by the server's own count.
    """

    sampling: Sampling
    model: str
    arguments: Mapping[str, object]
    template_arguments: Mapping[str, object]
    encode: Encode | None
    fields: ChatFields = ChatFields()
    refused: list[str] = field(default_factory=list)
    tokens: Counter[str] = field(default_factory=Counter)

    def pieces(self, request: Request) -> list[Piece]:
        """The requests that get the samples of a group."""
        if self.sampling.temperature == 0:
            return [Piece(request, 0, 1)]  # the others are equal
        if self.fields.has_choices:
            return [Piece(request, 0, request.num_samples)]
        return [Piece(request, number, 1) for number in range(request.num_samples)]

    def body(self, piece: Piece) -> dict[str, object]:
        """The JSON of a request."""
        body: dict[str, object] = {
            "model": self.model,
            "messages": list(piece.request.messages),
            "temperature": self.sampling.temperature,
            self.fields.limit: piece.request.max_new_tokens,
        }
        if self.sampling.top_p != 1.0:
            body["top_p"] = self.sampling.top_p
        if self.fields.has_seed:
            body["seed"] = (piece.request.seed + piece.first) % 2**31
        if piece.count > 1:
            body["n"] = piece.count
        if piece.request.tools is not None:
            body["tools"] = parse_json(piece.request.tools)
        if self.template_arguments:
            body["chat_template_kwargs"] = dict(self.template_arguments)
        return {**body, **self.arguments}

    def first_samples(self, request: Request, ask: Callable[[Mapping[str, object]], Answer]) -> list[Sample]:
        """The samples of the first request, from which the server's fields are known.

        Raises:
            StageFailure: the server refuses it in any form.
        """
        samples: list[Sample] = []
        while True:
            piece = self.pieces(request)[0]
            answer = ask(self.body(piece))
            if not isinstance(answer, Refusal):
                break
            fields = self.fields.after(answer, piece.count)
            if fields is None:
                raise StageFailure(f"The server refuses the first prompt (status {answer.status}): {answer.message}")
            self.fields = fields
        samples += self.samples(piece, answer)
        if len(samples) < piece.count:  # the server does not know `n`
            self.fields = replace(self.fields, has_choices=False)
        for rest in self.pieces(request)[len(samples) :]:
            samples += self.samples(rest, ask(self.body(rest)))
        return self.completed(request, samples)

    def samples(self, piece: Piece, answer: Answer) -> list[Sample]:
        """The samples in an answer; aborted ones where the server refuses the prompt.

        Raises:
            StageFailure: the answer is not a chat completion.
        """
        if isinstance(answer, Refusal):
            self.refused.append(answer.message)
            return [ABORTED] * piece.count
        usage = answer.get("usage") or {}
        self.tokens.update({kind: usage.get(f"{kind}_tokens") or 0 for kind in ("prompt", "completion")})
        try:
            choices = sorted(answer["choices"], key=lambda choice: choice.get("index") or 0)
            return [self._sample(choice) for choice in choices][: piece.count]
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise StageFailure(f"The server's answer is not a chat completion ({error!r}): {answer!r:.300}") from error

    def completed(self, request: Request, samples: Sequence[Sample]) -> list[Sample]:
        """All samples of a group; a greedy one stands for all.

        Raises:
            StageFailure: the server returned fewer samples than were requested.
        """
        if self.sampling.temperature == 0:
            samples = list(samples[:1]) * request.num_samples
        if len(samples) != request.num_samples:
            raise StageFailure(f"The server returned {len(samples)} choices for n={request.num_samples}.")
        return list(samples)

    def remarks(self) -> list[str]:
        """What people should know of what was sampled."""
        prompt, completion = self.tokens["prompt"], self.tokens["completion"]
        lines = [f"The server counted {prompt:,} prompt and {completion:,} completion tokens."]
        if not self.fields.has_seed:
            lines.append("The server accepts no seed: the same command samples other texts.")
        if self.refused:
            lines.append(
                f"The server refused {some(len(self.refused), 'prompt', 'prompts')}, whose samples are aborted. "
                f"E.g.: {self.refused[0]}"
            )
        return lines

    def _sample(self, choice: Mapping[str, Any]) -> Sample:
        message, reason = choice["message"], choice.get("finish_reason")
        if reason not in (*STOPPED, "length"):
            return ABORTED
        text = (message.get("content") or "") + "".join(_calls(message))
        reasoning = message.get("reasoning_content") or message.get("reasoning") or None
        if not text and reasoning is None:
            return ABORTED
        is_complete = reason != "length"
        if self.encode is None:
            return Sample([], None, "stop" if is_complete else "length", True, text, reasoning)
        whole = text if reasoning is None else THINK.format(reasoning) + text
        ids, has_ended = self.encode(whole, is_complete)
        return Sample(ids, None, "stop" if has_ended else "length", True) if ids else ABORTED


def _calls(message: Message) -> Iterator[str]:
    """The tool calls of an answer as text, as most models write them."""
    for call in message.get("tool_calls") or []:
        function = call["function"]
        name = json.dumps(function["name"])
        yield f'<tool_call>\n{{"name": {name}, "arguments": {function["arguments"]}}}\n</tool_call>'
