"""The transformers engine: batches with a KV cache and one random stream per sample.

Each prompt is encoded once and its cache row is repeated for the G samples. Every sample draws from a seeded generator
that no other sample uses, so it does not depend on the batch; finished rows leave the batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import torch

from grao_pipeline.arguments import NoArguments
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
from grao_pipeline.generation.engines.token_sampling import TokenSampler, TransformersSamplingArguments
from grao_pipeline.models.source import load_weights
from grao_pipeline.models.token_text import StopStrings, TokenText
from grao_pipeline.plugins import require
from grao_pipeline.schemas import FinishReason

COMPACT_SHARE = 0.5
"""Finished rows are dropped from the cache when at most this share is unfinished: the cache is copied less often."""


class TransformersEngine(Engine):
    """Samples with a causal language model of transformers in this process."""

    SamplingArguments = TransformersSamplingArguments
    sampling_options = SAMPLING_OPTIONS

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
        self._directory = options.model
        self._batch_size = options.batch_size
        self._context_length = options.context_length

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Batches never cross a part's boundary, so a part does not depend on the parts before it."""
        for part in parts:
            by_length = sorted(part, key=lambda request: len(request.prompt_token_ids))
            for start in range(0, len(by_length), self._batch_size):
                yield self._sample_batch(by_length[start : start + self._batch_size], sampling)

    @cached_property
    def _token_text(self) -> TokenText:
        return TokenText(require("transformers").AutoTokenizer.from_pretrained(self._directory))

    def close(self) -> None:
        del self._model
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _sample_batch(self, requests: Sequence[Request], sampling: Sampling) -> list[SampledGroup]:
        stops = StopStrings(sampling.stop, self._token_text) if sampling.stop else None
        try:
            rows = _sample(self._model, self._device, requests, sampling, self._context_length, stops)
        except torch.OutOfMemoryError as error:
            raise StageFailure(
                f"Out of memory while sampling {len(requests)} prompts together; lower --batch-size. ({error})"
            ) from error
        drawn = iter(rows)
        return [SampledGroup(request.key, list(islice(drawn, request.num_samples))) for request in requests]


class _Row:
    """One sample while it is drawn."""

    def __init__(self, max_new_tokens: int, stops: StopStrings | None) -> None:
        self._token_ids: list[int] = []
        self._logprobs: list[float] = []
        self._behavior_logprobs: list[float] = []
        self._stopped = False
        self._max_new_tokens = max_new_tokens
        self._stops = stops

    @property
    def is_finished(self) -> bool:
        return self._stopped or len(self._token_ids) >= self._max_new_tokens

    @property
    def sample(self) -> Sample:
        reason: FinishReason = "stop" if self._stopped else "length"
        return Sample(self._token_ids, self._logprobs, reason, behavior_logprobs=self._behavior_logprobs)

    def append(self, token: int, logprob: float, behavior_logprob: float, is_stop: bool) -> None:
        self._token_ids.append(token)
        self._logprobs.append(logprob)
        self._behavior_logprobs.append(behavior_logprob)
        self._stopped = is_stop or (self._stops is not None and self._stops.is_complete(self._token_ids))


def _sample(
    model: torch.nn.Module,
    device: torch.device,
    requests: Sequence[Request],
    sampling: Sampling,
    context_length: int,
    stops: StopStrings | None,
) -> list[Sample]:
    """Sample every row of the batch. Rows are (request, sample) in order: [R]."""
    rows = [_Row(request.max_new_tokens, stops) for request in requests for _ in range(request.num_samples)]
    sampler = TokenSampler(requests, sampling, device)
    logits, cache, mask, position = _encode_prompts(model, device, requests)
    in_batch = torch.arange(len(rows), device=device)  # numbers of the rows in the batch: [B]
    step = 0
    while True:
        drawn = sampler.draw(logits, in_batch, step)
        tokens, numbers = drawn.tokens, in_batch.tolist()
        values = [column.tolist() for column in (tokens, drawn.logprobs, drawn.behavior_logprobs)]
        for number, token, logprob, behavior in zip(numbers, *values, strict=True):
            if not rows[number].is_finished:
                rows[number].append(token, logprob, behavior, token in sampling.stop_token_ids)
        unfinished = [index for index, number in enumerate(numbers) if not rows[number].is_finished]
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


def _left_padded(rows: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [P, T], padded on the left with 0, and the attention mask [P, T]."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, longest - len(row) :] = torch.tensor(row)
        mask[index, longest - len(row) :] = 1
    return ids.to(device), mask.to(device)
