"""The transformers engine: batches with a KV cache and one random stream per sample.

Each prompt is encoded once and its cache row is repeated for the G samples. Every sample draws from a seeded generator
that no other sample uses, so it does not depend on the batch; finished rows leave the batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from grao_pipeline.arguments import NoArguments
from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.generation.engines.base import Engine, EngineOptions, Request, Sample, SampledGroup, Sampling
from grao_pipeline.models.source import load_weights
from grao_pipeline.plugins import require

COMPACT_SHARE = 0.5
"""Finished rows are dropped from the cache when at most this share is unfinished: the cache is copied less often."""


class TransformersEngine(Engine):
    """Samples with a causal language model of transformers in this process."""

    def __init__(self, options: EngineOptions, arguments: NoArguments) -> None:
        """Load the model.

        Raises:
            UsageError: the model is to be quantized, which this engine does not support.
            InputError: the weights cannot be loaded.
        """
        if options.quantization:
            raise UsageError(
                f"the transformers engine cannot sample from weights in {options.quantization!r}. Use --engine vllm.",
                option="quantization",
            )
        options = options.resolved()
        self._device = torch.device(options.device)
        model: Any = load_weights(options.model, "AutoModelForCausalLM", options.dtype)
        if options.adapter is not None:
            model = require("peft").PeftModel.from_pretrained(model, options.adapter)
        self._model: Any = model.to(self._device).eval()
        self._batch_size = options.batch_size
        self._context_length = options.context_length

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Batches never cross a part's boundary, so a part does not depend on the parts before it."""
        for part in parts:
            by_length = sorted(part, key=lambda request: len(request.prompt_token_ids))
            for start in range(0, len(by_length), self._batch_size):
                yield self._sample_batch(by_length[start : start + self._batch_size], sampling)

    def close(self) -> None:
        del self._model
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _sample_batch(self, requests: Sequence[Request], sampling: Sampling) -> list[SampledGroup]:
        try:
            rows = _sample(self._model, self._device, requests, sampling, self._context_length)
        except torch.OutOfMemoryError as error:
            raise StageFailure(
                f"Out of memory while sampling {len(requests)} prompts together; lower --batch-size. ({error})"
            ) from error
        drawn = iter(rows)
        return [SampledGroup(request.key, list(islice(drawn, request.num_samples))) for request in requests]


class _Row:
    """One sample while it is drawn."""

    def __init__(self, max_new_tokens: int) -> None:
        self._token_ids: list[int] = []
        self._logprobs: list[float] = []
        self._stopped = False
        self._max_new_tokens = max_new_tokens

    @property
    def is_finished(self) -> bool:
        return self._stopped or len(self._token_ids) >= self._max_new_tokens

    @property
    def sample(self) -> Sample:
        return Sample(self._token_ids, self._logprobs, "stop" if self._stopped else "length")

    def append(self, token: int, logprob: float, is_stop: bool) -> None:
        self._token_ids.append(token)
        self._logprobs.append(logprob)
        self._stopped = is_stop


def _sample(
    model: torch.nn.Module, device: torch.device, requests: Sequence[Request], sampling: Sampling, context_length: int
) -> list[Sample]:
    """Sample every row of the batch. Rows are (request, sample) in order: [R]."""
    rows = [_Row(request.max_new_tokens) for request in requests for _ in range(request.num_samples)]
    uniforms = _uniforms(requests, sampling.max_new_tokens).to(device)  # [R, N]
    logits, cache, mask, position = _encode_prompts(model, device, requests)
    in_batch = torch.arange(len(rows), device=device)  # numbers of the rows in the batch: [B]
    step = 0
    while True:
        tokens, logprobs = _draw(logits, uniforms[in_batch, step], sampling)
        drawn = list(zip(in_batch.tolist(), tokens.tolist(), logprobs.tolist(), strict=True))
        for row, token, logprob in drawn:
            if not rows[row].is_finished:
                rows[row].append(token, logprob, token in sampling.stop_token_ids)
        unfinished = [index for index, (row, _, _) in enumerate(drawn) if not rows[row].is_finished]
        if not unfinished:
            return [row.sample for row in rows]
        if len(unfinished) <= COMPACT_SHARE * len(in_batch):
            keep = torch.tensor(unfinished, device=device)
            cache.batch_select_indices(keep)
            in_batch, tokens, mask, position = in_batch[keep], tokens[keep], mask[keep], position[keep]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        position = (position + 1).clamp(max=context_length - 1)  # finished rows may be at the model's last position
        step += 1
        output = model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=position[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        logits = output.logits[:, -1].float()


def _encode_prompts(
    model: torch.nn.Module, device: torch.device, requests: Sequence[Request]
) -> tuple[torch.Tensor, Any, torch.Tensor, torch.Tensor]:
    """Encode each prompt once, then repeat its cache for its samples.

    Returns:
        logits [R, V], the KV cache of R rows, attention mask [R, T], last positions [R].
    """
    ids, mask = _left_padded([request.prompt_token_ids for request in requests], device)  # [P, T]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    output = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
    repeats = torch.tensor([request.num_samples for request in requests], device=device)
    row_of = torch.repeat_interleave(torch.arange(len(requests), device=device), repeats)  # [R]
    output.past_key_values.batch_select_indices(row_of)
    return output.logits[row_of, -1].float(), output.past_key_values, mask[row_of], positions[row_of, -1]


def _draw(logits: torch.Tensor, uniforms: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token per row by inverting its cumulative distribution at `uniforms`.

    Args:
        logits: [R, V], untempered.
        uniforms: [R], in [0, 1).

    Returns:
        tokens [R] and their log-probs [R] under the untempered policy, in nats.
    """
    reference = torch.log_softmax(logits, dim=-1)
    if sampling.temperature == 0.0:
        tokens = logits.argmax(dim=-1)
    else:
        probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
        if sampling.top_p < 1.0:
            probabilities = _nucleus(probabilities, sampling.top_p)
        cumulative = probabilities.double().cumsum(dim=-1)
        target = uniforms.double() * cumulative[:, -1]
        tokens = torch.searchsorted(cumulative, target[:, None], right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    return tokens, reference.gather(-1, tokens[:, None])[:, 0]


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero all but the smallest set of most likely tokens whose probability reaches `top_p`. [R, V]"""
    ordered, order = probabilities.sort(dim=-1, descending=True)
    outside = ordered.cumsum(dim=-1) - ordered >= top_p
    return torch.zeros_like(probabilities).scatter(-1, order, ordered.masked_fill(outside, 0.0))


def _uniforms(requests: Sequence[Request], steps: int) -> torch.Tensor:
    """One random stream per sample, always of length `steps`: torch draws a shorter one differently. [R, steps]"""
    streams = []
    for request in requests:
        generator = torch.Generator().manual_seed(request.seed)
        streams.append(torch.rand(request.num_samples, steps, generator=generator))
    return torch.cat(streams)


def _left_padded(rows: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [P, T], padded on the left with 0, and the attention mask [P, T]."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, longest - len(row) :] = torch.tensor(row)
        mask[index, longest - len(row) :] = 1
    return ids.to(device), mask.to(device)
