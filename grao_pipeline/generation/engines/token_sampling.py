"""From the logits of a batch to one token per row, with its log-probs: one random stream per sample.

The distribution has vLLM's order: the penalty on repeated tokens, temperature, min-p, top-k, top-p. All of them are
those of transformers' logits processors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor

from grao_pipeline.arguments import JsonList, PluginArguments, argument
from grao_pipeline.generation.engines.base import Request, Sampling
from grao_pipeline.plugins import require


class TransformersSamplingArguments(PluginArguments):
    """Fields of transformers' GenerationConfig, done by its own logits processors."""

    typical_p: float | None = argument(None, "Locally typical sampling: this much probability.", gt=0.0, lt=1.0)
    epsilon_cutoff: float | None = argument(None, "Least probability of a token.", gt=0.0, lt=1.0)
    eta_cutoff: float | None = argument(None, "Least probability by entropy (eta sampling).", gt=0.0, lt=1.0)
    no_repeat_ngram_size: PositiveInt | None = argument(None, "No sequence of this many tokens occurs twice.")
    min_new_tokens: PositiveInt | None = argument(None, "No end-of-turn token before this number of tokens.")
    suppress_tokens: JsonList[int] | None = argument(None, "Token IDs that are never sampled, as a JSON list.")
    bad_words_ids: JsonList[list[int]] | None = argument(None, "Sequences of token IDs that are never sampled.")


@dataclass(frozen=True)
class Drawn:
    """One token per row. [R] each"""

    tokens: Tensor
    logprobs: Tensor
    """Under the policy at temperature 1, in nats."""
    behavior_logprobs: Tensor
    """Under the distribution that was drawn from, in nats."""


class TokenSampler:
    """Draws the tokens of a batch. Rows are (request, sample), in order: [R]."""

    def __init__(self, requests: Sequence[Request], sampling: Sampling, device: torch.device) -> None:
        self._sampling = sampling
        self._uniforms = _uniforms(requests, sampling.max_new_tokens).to(device)  # [R, N]
        self._histories = [[*request.prompt_token_ids] for request in requests for _ in range(request.num_samples)]
        self._seen: Tensor | None = None  # tokens of prompt and completion: [R, V]
        arguments = sampling.arguments
        self._arguments = arguments if isinstance(arguments, TransformersSamplingArguments) else None

    def draw(self, logits: Tensor, rows: Tensor, step: int) -> Drawn:
        """Draw the next token of every row of the batch, by inverting its cumulative distribution.

        Args:
            logits: of the policy. [B, V]
            rows: numbers of the rows of the batch, which shrinks while samples finish. [B]
            step: number of tokens that the rows have already.
        """
        scores = self._processed(logits, rows, step)
        if self._sampling.temperature == 0.0:
            tokens = scores.argmax(dim=-1)
            behavior = torch.zeros_like(tokens, dtype=logits.dtype)
        else:
            probabilities = distribution(scores, self._sampling)
            if self._arguments is not None:
                probabilities = _truncated(probabilities, self._arguments)
            cumulative = probabilities.double().cumsum(dim=-1)
            target = self._uniforms[rows, step].double() * cumulative[:, -1]
            tokens = torch.searchsorted(cumulative, target[:, None], right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
            drawn = probabilities.gather(-1, tokens[:, None])[:, 0].double()
            behavior = (drawn / cumulative[:, -1]).log()
        self._append(rows, tokens)
        logprobs = torch.log_softmax(logits, dim=-1).gather(-1, tokens[:, None])[:, 0]
        return Drawn(tokens, logprobs, behavior)

    def _processed(self, logits: Tensor, rows: Tensor, step: int) -> Tensor:
        """The logits after what depends on the tokens so far. [B, V]"""
        scores = logits
        if self._sampling.repetition_penalty != 1.0:
            scores = penalized(scores, self._seen_in(rows, logits), self._sampling.repetition_penalty)
        if self._arguments is not None:
            scores = self._with_forbidden_tokens(scores, rows, step, self._arguments)
        return scores

    def _seen_in(self, rows: Tensor, logits: Tensor) -> Tensor:
        if self._seen is None:
            self._seen = torch.zeros(len(self._histories), logits.shape[-1], dtype=torch.bool, device=logits.device)
            for row, history in enumerate(self._histories):
                self._seen[row, history] = True
        return self._seen[rows]

    def _append(self, rows: Tensor, tokens: Tensor) -> None:
        if self._seen is not None:
            self._seen[rows, tokens] = True
        if self._arguments is not None:
            for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
                self._histories[row].append(token)

    def _with_forbidden_tokens(
        self, scores: Tensor, rows: Tensor, step: int, arguments: TransformersSamplingArguments
    ) -> Tensor:
        process: Any = require("transformers.generation.logits_process")
        scores, stops = scores.clone(), list(self._sampling.stop_token_ids)
        processors = []
        if arguments.no_repeat_ngram_size is not None:
            processors.append(process.NoRepeatNGramLogitsProcessor(arguments.no_repeat_ngram_size))
        if arguments.bad_words_ids is not None:
            processors.append(process.NoBadWordsLogitsProcessor(arguments.bad_words_ids, stops or None))
        if processors:
            for place, row in enumerate(rows.tolist()):
                history = torch.tensor([self._histories[row]], device=scores.device)
                for processor in processors:
                    scores[place : place + 1] = processor(history, scores[place : place + 1])
        if arguments.min_new_tokens is not None and step < arguments.min_new_tokens:
            scores[:, stops] = -torch.inf
        if arguments.suppress_tokens is not None:
            scores[:, arguments.suppress_tokens] = -torch.inf
        return scores


def distribution(scores: Tensor, sampling: Sampling) -> Tensor:
    """Temperature, min-p, top-k and top-p, in this order. [R, V] → probabilities up to a factor per row [R, V]"""
    probabilities = torch.softmax(scores / sampling.temperature, dim=-1)
    if sampling.min_p > 0.0:
        least = sampling.min_p * probabilities.amax(dim=-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    if 0 < sampling.top_k < probabilities.shape[-1]:
        least = probabilities.topk(sampling.top_k, dim=-1).values[:, -1:]
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    if sampling.top_p < 1.0:
        is_whole = sampling.min_p == 0.0 and sampling.top_k == 0
        probabilities = _nucleus(
            probabilities if is_whole else probabilities / probabilities.sum(dim=-1, keepdim=True), sampling.top_p
        )
    return probabilities


def penalized(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits of seen tokens divided by the penalty where they are positive, else multiplied (CTRL). [R, V]"""
    return torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero all but the smallest set of most likely tokens whose probability reaches `top_p`. [R, V]"""
    ordered, order = probabilities.sort(dim=-1, descending=True)
    outside = ordered.cumsum(dim=-1) - ordered >= top_p
    return torch.zeros_like(probabilities).scatter(-1, order, ordered.masked_fill(outside, 0.0))


def _truncated(probabilities: Tensor, arguments: TransformersSamplingArguments) -> Tensor:
    process: Any = require("transformers.generation.logits_process")
    scores: Tensor = probabilities.log()
    no_ids = torch.zeros(len(scores), 0, dtype=torch.long, device=scores.device)
    if arguments.typical_p is not None:
        scores = process.TypicalLogitsWarper(mass=arguments.typical_p)(no_ids, scores)
    if arguments.epsilon_cutoff is not None:
        scores = process.EpsilonLogitsWarper(epsilon=arguments.epsilon_cutoff)(no_ids, scores)
    if arguments.eta_cutoff is not None:
        scores = process.EtaLogitsWarper(epsilon=arguments.eta_cutoff, device=str(scores.device))(no_ids, scores)
    return scores.softmax(dim=-1)


def _uniforms(requests: Sequence[Request], steps: int) -> Tensor:
    """One random stream per sample, always of length `steps`: torch draws a shorter one differently. [R, steps]"""
    streams = []
    for request in requests:
        generator = torch.Generator().manual_seed(request.seed)
        streams.append(torch.rand(request.num_samples, steps, generator=generator))
    return torch.cat(streams)
