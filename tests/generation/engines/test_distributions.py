"""Both engines draw from the distribution that transformers' logits processors make, and store its log-probs.

The processors are in vLLM's order: penalty, temperature, min-p, top-k, top-p.
"""

import math
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from grao_pipeline.generation.engines.base import Engine, Request, Sampling
from grao_pipeline.generation.engines.token_sampling import TransformersSamplingArguments
from grao_pipeline.generation.engines.vllm import VllmSamplingArguments
from tests.generation.common import next_token_logits, untempered_logprobs

PROMPT = [5, 6, 7, 30, 31, 5]
SAMPLINGS = {
    "temperature": Sampling(0.5, 1.0, 6, (2,)),
    "top-p": Sampling(1.0, 0.6, 6, (2,)),
    "top-k": Sampling(1.0, 1.0, 6, (2,), top_k=5),
    "min-p": Sampling(1.5, 1.0, 6, (2,), min_p=0.3),
    "repetition penalty": Sampling(1.0, 1.0, 6, (2,), repetition_penalty=1.8),
    "all": Sampling(0.8, 0.9, 6, (2,), top_k=20, min_p=0.05, repetition_penalty=1.3),
}


def processed(model: Path, ids: list[int], sampling: Sampling) -> torch.Tensor:
    """Log-probs of the next token, by transformers' processors in float64. [V]"""
    processors: Any = LogitsProcessorList()
    if sampling.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    processors.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.min_p:
        processors.append(MinPLogitsWarper(sampling.min_p))
    if sampling.top_k:
        processors.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        processors.append(TopPLogitsWarper(sampling.top_p))
    scores = processors(torch.tensor([ids]), next_token_logits(model, ids)[-1:].double())
    logprobs: torch.Tensor = scores[0].log_softmax(dim=-1)
    return logprobs


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_log_probs_of_both_distributions_are_stored(engine: Engine, model: Path, sampling: Sampling) -> None:
    [[group]] = engine.generate([[Request((0, 0), PROMPT, 8, 11, 6)]], sampling)
    for sample in group.samples:
        ids = sample.token_ids
        assert sample.logprobs == pytest.approx(untempered_logprobs(model, PROMPT, ids), abs=2e-5)
        expected = [float(processed(model, [*PROMPT, *ids[:n]], sampling)[token]) for n, token in enumerate(ids)]
        assert all(map(math.isfinite, expected))
        assert sample.behavior_logprobs == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("name", ["min-p", "all"])
def test_tokens_are_drawn_with_the_processed_probabilities(engine: Engine, model: Path, name: str) -> None:
    """Total variation distance of 1,500 draws: its expectation is at most half of Σ √(p(1−p)/n)."""
    sampling = replace(SAMPLINGS[name], max_new_tokens=1)
    requests = [Request((0, n), PROMPT, 150, 1000 * n, 1) for n in range(10)]
    samples = [sample for group in chain(*engine.generate([requests], sampling)) for sample in group.samples]
    counts = Counter(sample.token_ids[0] for sample in samples)
    probabilities = processed(model, PROMPT, sampling).exp().tolist()
    n = len(samples)
    distance = sum(abs(counts[token] / n - p) for token, p in enumerate(probabilities)) / 2
    noise = sum(math.sqrt(p * (1 - p) / n) for p in probabilities) / 2
    assert all(probabilities[token] > 0 for token in counts)
    assert distance < 2 * noise


def test_samples_of_the_policy_itself_need_no_second_log_probs(engine: Engine) -> None:
    """Log-probs of the request before, which had two, do not stay in the engine."""
    for sampling in (Sampling(0.5, 1.0, 4, (2,)), Sampling(1.0, 1.0, 4, (2,))):
        [[group]] = engine.generate([[Request((0, 0), PROMPT, 2, 11, 4)]], sampling)
    assert sampling.is_policy
    assert all(len(sample.logprobs or []) == len(sample.token_ids) for sample in group.samples)


@pytest.mark.parametrize(
    "arguments",
    [
        {"typical_p": 0.4},
        {"epsilon_cutoff": 0.01},
        {"eta_cutoff": 0.02},
        {"no_repeat_ngram_size": 1},
        {"suppress_tokens": [44, 45, 46]},
        {"bad_words_ids": [[44], [31, 5]]},
    ],
    ids=str,
)
def test_sampling_arguments_are_those_of_transformers(
    transformers_engine: Engine, model: Path, arguments: dict[str, Any]
) -> None:
    """The oracle: the processors that `model.generate` makes of a GenerationConfig with the same fields."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    sampling = Sampling(0.9, 1.0, 5, (2,), arguments=TransformersSamplingArguments(**arguments))
    [[group]] = transformers_engine.generate([[Request((0, 0), PROMPT, 6, 3, 5)]], sampling)
    oracle: Any = AutoModelForCausalLM.from_pretrained(str(model))
    config = GenerationConfig(do_sample=True, temperature=0.9, eos_token_id=2, top_k=0, **arguments)
    oracle._prepare_special_tokens(config, device="cpu")
    processors = oracle._get_logits_processor(config, input_ids_seq_length=len(PROMPT), device="cpu")
    for sample in group.samples:
        for n, token in enumerate(sample.token_ids):
            ids = [*PROMPT, *sample.token_ids[:n]]
            scores = processors(torch.tensor([ids]), next_token_logits(model, ids)[-1:].clone())
            assert sample.behavior_logprobs is not None
            assert sample.behavior_logprobs[n] == pytest.approx(float(scores[0].log_softmax(-1)[token]), abs=5e-5)


def test_no_end_of_turn_before_min_new_tokens(transformers_engine: Engine) -> None:
    stops = tuple(range(2, 300))
    sampling = Sampling(1.0, 1.0, 5, stops, arguments=TransformersSamplingArguments(min_new_tokens=3))
    [[group]] = transformers_engine.generate([[Request((0, 0), PROMPT, 20, 3, 5)]], sampling)
    assert min(len(sample.token_ids) for sample in group.samples) == 4


@pytest.mark.vllm
def test_sampling_arguments_reach_vllm(vllm_engine: Engine) -> None:
    arguments = VllmSamplingArguments(allowed_token_ids=[40, 41, 42], logit_bias={41: -100.0}, presence_penalty=0.5)
    sampling = Sampling(1.0, 1.0, 8, (2,), arguments=arguments)
    [[group]] = vllm_engine.generate([[Request((0, 0), PROMPT, 10, 3, 8)]], sampling)
    assert {token for sample in group.samples for token in sample.token_ids} == {40, 42}
    for sample in group.samples:
        assert sample.behavior_logprobs is not None
        assert sample.logprobs is not None
        assert all(b > p for b, p in zip(sample.behavior_logprobs, sample.logprobs, strict=True))
