"""The embedded engine: Hugging Face transformers, a KV cache, and one random stream per sample.

Each prompt is encoded once and its cache row repeated for the G samples. A sample's noise comes from its own seeded
generator, so it does not depend on the batch; finished rows leave the batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.generation.engines.base import EngineOptions, Request, Sample, SampledGroup, Sampling
from grao_pipeline.models.source import load_weights
from grao_pipeline.plugins import require

# Rows are dropped from the cache when this share of them has finished: fewer copies than at every end.
COMPACT_SHARE = 0.5


class TransformersEngine:
    """Samples with a causal language model of transformers.

    Raises:
        UsageError: an engine argument was given; this engine has none.
    """

    def __init__(self, options: EngineOptions) -> None:
        if options.arguments:
            raise UsageError(f"--engine-arg {next(iter(options.arguments))}: the transformers engine has no arguments.")
        if options.quantization:
            raise UsageError(f"--quantization {options.quantization}: the transformers engine has none; use vllm.")
        options = options.resolved()
        self._device = torch.device(options.device)
        model: Any = load_weights(options.model, "AutoModelForCausalLM", options.dtype)
        if options.adapter is not None:
            model = require("peft").PeftModel.from_pretrained(model, options.adapter)
        self._model: Any = model.to(self._device).eval()
        self._batch_size = options.batch_size
        self._context_length = options.context_length

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Batches never cross a part, so a part is the same whichever parts were made before it."""
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
    """One sample being drawn."""

    def __init__(self, budget: int) -> None:
        self._token_ids: list[int] = []
        self._logprobs: list[float] = []
        self._stopped = False
        self._budget = budget

    @property
    def ended(self) -> bool:
        return self._stopped or len(self._token_ids) >= self._budget

    @property
    def sample(self) -> Sample:
        return Sample(self._token_ids, self._logprobs, "stop" if self._stopped else "length")

    def append(self, token: int, logprob: float, stops: bool) -> None:
        self._token_ids.append(token)
        self._logprobs.append(logprob)
        self._stopped = stops


def _sample(
    model: Any, device: torch.device, requests: Sequence[Request], sampling: Sampling, context_length: int
) -> list[Sample]:
    """Sample every row of the batch. Rows are (request, sample) in order: [R]."""
    rows = [_Row(request.max_new_tokens) for request in requests for _ in range(request.num_samples)]
    uniforms = _uniforms(requests, sampling.max_new_tokens).to(device)  # [R, N]
    logits, cache, mask, position = _encode_prompts(model, device, requests)
    alive = torch.arange(len(rows), device=device)  # the row's number, of each row still in the batch
    step = 0
    while True:
        tokens, logprobs = _draw(logits, uniforms[alive, step], sampling)
        drawn = list(zip(alive.tolist(), tokens.tolist(), logprobs.tolist(), strict=True))
        for row, token, logprob in drawn:
            if not rows[row].ended:
                rows[row].append(token, logprob, token in sampling.stop_token_ids)
        going_on = [index for index, (row, _, _) in enumerate(drawn) if not rows[row].ended]
        if not going_on:
            return [row.sample for row in rows]
        if len(going_on) <= COMPACT_SHARE * len(alive):
            keep = torch.tensor(going_on, device=device)
            cache.batch_select_indices(keep)
            alive, tokens, mask, position = alive[keep], tokens[keep], mask[keep], position[keep]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        position = (position + 1).clamp(max=context_length - 1)  # rows that have ended may be at the model's end
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
    model: Any, device: torch.device, requests: Sequence[Request]
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
    """Each sample's own random stream; always `steps` long: torch draws shorter ones differently. [R, steps]"""
    streams = []
    for request in requests:
        generator = torch.Generator().manual_seed(request.seed)
        streams.append(torch.rand(request.num_samples, steps, generator=generator))
    return torch.cat(streams)


def _left_padded(rows: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [P, T] padded on the left with 0, and the attention mask [P, T]."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, longest - len(row) :] = torch.tensor(row)
        mask[index, longest - len(row) :] = 1
    return ids.to(device), mask.to(device)
