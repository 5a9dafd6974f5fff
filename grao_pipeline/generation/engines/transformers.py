"""The transformers engine: batches with a cache and one random stream per sample.

Each prompt is encoded once and its cache row is repeated for the G samples. Every sample draws from a seeded generator
that no other sample uses, so it does not depend on the batch; finished rows leave the batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby, islice
from typing import Any

import torch

from grao_pipeline.arguments import NoArguments
from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.generation.engines.base import (
    SAMPLING_OPTIONS,
    Engine,
    EngineOptions,
    Precision,
    Request,
    Sample,
    SampledGroup,
    Sampling,
)
from grao_pipeline.generation.engines.decoding import Decoding, choose_decoding
from grao_pipeline.generation.engines.token_sampling import TokenSampler, TransformersSamplingArguments
from grao_pipeline.models.adapter import check_adapter, load_adapter
from grao_pipeline.models.source import load_causal_lm, load_tokenizer, locate_files
from grao_pipeline.models.token_text import StopStrings, TokenText
from grao_pipeline.schemas import FinishReason

COMPACT_SHARE = 0.5
"""Finished rows are dropped from the cache when at most this share is unfinished: the cache is copied less often."""


class TransformersEngine(Engine):
    """Samples with a causal language model of transformers in this process."""

    SamplingArguments = TransformersSamplingArguments
    sampling_options = SAMPLING_OPTIONS
    reloads = True

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
        self._batch_size = options.batch_size
        self._load(options)

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        """Batches never cross a part's boundary, so a part does not depend on the parts before it."""
        for part in parts:
            by_length = sorted(part, key=_prompt_length)
            runs = [by_length]
            if self._decoding.needs_equal_lengths:
                runs = [list(run) for _, run in groupby(by_length, key=_prompt_length)]
            for run in runs:
                for start in range(0, len(run), self._batch_size):
                    yield self._sample_batch(run[start : start + self._batch_size], sampling)

    @cached_property
    def _token_text(self) -> TokenText:
        return TokenText(load_tokenizer(locate_files(self._directory)))

    def precision(self) -> Precision:
        return self._precision

    def reload(self, options: EngineOptions) -> bool:
        """The old weights are gone before the new ones are read: never are both in memory."""
        del self._model, self._decoding
        self._load(options.resolved())
        return True

    def rest(self) -> bool:
        """A GPU's memory is given up by closing: the next weights are read from disk anyway."""
        return self._device.type == "cpu"

    def close(self) -> None:
        del self._model, self._decoding
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _load(self, options: EngineOptions) -> None:
        if options.adapter is not None:
            check_adapter(options.model, options.adapter)
        model: Any = load_causal_lm(options.model, options.dtype)
        if options.adapter is not None:
            model = load_adapter(model, options.adapter)
        self._model: Any = model.to(self._device).eval()
        self._precision = Precision(self._device.type, str(self._model.dtype).removeprefix("torch."))
        self._directory = options.model
        self._decoding = choose_decoding(self._model, self._device, options.context_length)

    def _sample_batch(self, requests: Sequence[Request], sampling: Sampling) -> list[SampledGroup]:
        stops = StopStrings(sampling.stop, self._token_text) if sampling.stop else None
        try:
            return sample_batch(self._decoding, self._device, requests, sampling, stops)
        except torch.OutOfMemoryError as error:
            raise StageFailure(
                f"Out of memory while sampling {len(requests)} prompts together; lower --batch-size. ({error})"
            ) from error


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


@torch.inference_mode()
def sample_batch(
    decoding: Decoding,
    device: torch.device,
    requests: Sequence[Request],
    sampling: Sampling,
    stops: StopStrings | None = None,
) -> list[SampledGroup]:
    """Sample the groups of all requests together; of equal prompt lengths where the decoding needs that."""
    samples = iter(_sample(decoding, device, requests, sampling, stops))
    return [SampledGroup(request.key, list(islice(samples, request.num_samples))) for request in requests]


def _sample(
    decoding: Decoding,
    device: torch.device,
    requests: Sequence[Request],
    sampling: Sampling,
    stops: StopStrings | None,
) -> list[Sample]:
    """Sample every row of the batch. Rows are (request, sample) in order: [R]."""
    rows = [_Row(request.max_new_tokens, stops) for request in requests for _ in range(request.num_samples)]
    sampler = TokenSampler(requests, sampling, device)
    prompts = [request.prompt_token_ids for request in requests]
    logits = decoding.begin(prompts, [request.num_samples for request in requests])
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
            decoding.keep(keep)
            in_batch, tokens = in_batch[keep], tokens[keep]
        step += 1
        logits = decoding.advance(tokens)


def _prompt_length(request: Request) -> int:
    return len(request.prompt_token_ids)
