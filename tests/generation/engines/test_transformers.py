"""The transformers engine draws from the right distribution, whatever else is in the batch."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from grao_pipeline.arguments import NoArguments
from grao_pipeline.errors import UsageError
from grao_pipeline.generation.engines.base import Engine, EngineOptions, Request, Sample, Sampling
from grao_pipeline.generation.engines.make import parse_engine_arguments
from grao_pipeline.generation.engines.transformers import TransformersEngine
from tests.generation.common import next_token_logits, untempered_logprobs

PROMPTS = [[5, 6, 7], [30 + i for i in range(60)], [40], [9, 8, 7, 6, 5, 4, 3], [50, 51], [7] * 33, [11, 12, 13]]


def requests_of(prompts: Sequence[list[int]], num_samples: int = 3, budget: int = 16) -> list[Request]:
    return [Request((0, i), prompt, num_samples, 1000 + i, budget) for i, prompt in enumerate(prompts)]


def sampled(engine: Engine, parts: list[list[Request]], sampling: Sampling) -> dict[int, list[Sample]]:
    """Request seed → its samples."""
    seeds = {request.key: request.seed for part in parts for request in part}
    return {seeds[group.key]: group.samples for group in chain(*engine.generate(parts, sampling))}


def assert_drawn_from(counts: Counter[int], probabilities: list[float]) -> None:
    """Pearson's chi-square over the bins that expect at least five draws, the others pooled.

    The statistic has mean k and variance 2k for k degrees of freedom: four standard deviations either way are allowed,
    so draws that fit too well (not random) fail too.
    """
    n = sum(counts.values())
    assert all(probabilities[token] > 0 for token in counts)
    pairs = [(counts[token], n * p) for token, p in enumerate(probabilities) if n * p >= 5]
    rest = n - sum(seen for seen, _ in pairs), n - sum(expected for _, expected in pairs)
    pairs += [rest] if rest[1] >= 5 else []
    statistic = sum((seen - expected) ** 2 / expected for seen, expected in pairs)
    k = len(pairs) - 1
    assert k >= 3
    assert abs(statistic - k) < 4 * (2 * k) ** 0.5


def tempered(logits: torch.Tensor, temperature: float, top_p: float = 1.0) -> list[float]:
    """softmax(logits / T), cut to its nucleus by walking down from the likeliest token; in plain Python."""
    probabilities = torch.softmax(logits.double() / temperature, dim=-1).tolist()
    total, nucleus = 0.0, set()
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        if total >= top_p:
            break
        total += probabilities[token]
        nucleus.add(token)
    return [p / total if token in nucleus else 0.0 for token, p in enumerate(probabilities)]


@pytest.mark.slow
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.6), (0.7, 0.9)])
def test_first_tokens_are_drawn_from_the_tempered_nucleus(
    transformers_engine: Engine, model: Path, temperature: float, top_p: float
) -> None:
    prompt = [5, 6, 7]
    request = Request((0, 0), prompt, 8000, 77, 1)
    samples = sampled(transformers_engine, [[request]], Sampling(temperature, top_p, 1, (2,)))[77]
    counts = Counter(sample.token_ids[0] for sample in samples)
    assert_drawn_from(counts, tempered(next_token_logits(model, prompt)[-1], temperature, top_p))


@pytest.mark.slow
def test_second_tokens_are_drawn_given_the_first(transformers_engine: Engine, model: Path) -> None:
    prompt = [5, 6, 7]
    request = Request((0, 0), prompt, 8000, 78, 2)
    samples = sampled(transformers_engine, [[request]], Sampling(0.3, 1.0, 2, (2,)))[78]
    first, _ = Counter(sample.token_ids[0] for sample in samples if sample.token_ids[0] != 2).most_common(1)[0]
    counts = Counter(sample.token_ids[1] for sample in samples if sample.token_ids[0] == first)
    assert counts.total() > 500
    assert_drawn_from(counts, tempered(next_token_logits(model, [*prompt, first])[-1], 0.3))


@pytest.mark.slow
def test_samples_do_not_depend_on_batch_size_or_other_prompts(transformers_engine: Engine, model: Path) -> None:
    sampling = Sampling(1.0, 0.95, 16, (2, *range(60, 80)))
    requests = requests_of(PROMPTS)
    together = sampled(transformers_engine, [requests], sampling)
    lengths = {len(sample.token_ids) for samples in together.values() for sample in samples}
    assert {1, 16} < lengths  # rows end at the first token, at the last, and between
    alone = TransformersEngine(EngineOptions(str(model), "float32", 256, "cpu", 1), NoArguments())
    one_by_one = sampled(alone, [requests], sampling)
    alone.close()
    reversed_halves = sampled(transformers_engine, [requests[:2:-1], requests[2::-1]], sampling)
    for seed, samples in together.items():
        expected = [(sample.token_ids, sample.finish_reason) for sample in samples]
        for other in (one_by_one, reversed_halves):
            assert [(sample.token_ids, sample.finish_reason) for sample in other[seed]] == expected


def test_two_seeds_share_no_noise(transformers_engine: Engine) -> None:
    requests = [Request((0, i), [5, 6, 7], 8, 1000 + i, 8) for i in range(2)]
    samples_by_seed = sampled(transformers_engine, [requests], Sampling(1.0, 1.0, 8, (2,)))
    both = [tuple(sample.token_ids) for samples in samples_by_seed.values() for sample in samples]
    assert len(set(both)) == 16


def test_prompts_of_mixed_lengths_are_read_as_if_alone(transformers_engine: Engine, model: Path) -> None:
    samples_by_seed = sampled(transformers_engine, [requests_of(PROMPTS)], Sampling(1.0, 1.0, 16, (2,)))
    for request in requests_of(PROMPTS):
        for sample in samples_by_seed[request.seed]:
            expected = untempered_logprobs(model, request.prompt_token_ids, sample.token_ids)
            assert sample.logprobs == pytest.approx(expected, abs=2e-5)


@pytest.mark.slow
def test_a_model_with_learned_positions_samples_up_to_its_last_position(tmp_path: Path) -> None:
    """The row whose prompt fills 30 of 32 positions ends after two tokens; the other goes on for 26 more steps."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(str(tmp_path))
    engine = TransformersEngine(EngineOptions(str(tmp_path), "float32", 32, "cpu", 8), NoArguments())
    requests = [Request((0, 0), list(range(1, 31)), 1, 5, 2), Request((0, 1), [3, 4, 5, 6], 2, 6, 28)]
    samples_by_seed = sampled(engine, [requests], Sampling(1.0, 1.0, 28, (0,)))
    engine.close()
    assert [len(sample.token_ids) for sample in samples_by_seed[5]] == [2]
    assert all(len(s.token_ids) == 28 or s.token_ids[-1] == 0 for s in samples_by_seed[6])
    assert any(len(s.token_ids) > 10 for s in samples_by_seed[6])
    for request in requests:
        for sample in samples_by_seed[request.seed]:
            expected = untempered_logprobs(tmp_path, request.prompt_token_ids, sample.token_ids)
            assert sample.logprobs == pytest.approx(expected, abs=2e-5)


@pytest.mark.slow
def test_it_computes_in_the_given_precision(model: Path) -> None:
    """bfloat16 keeps 8 bits of a number: its log-probs are near the float32 ones, but not them."""
    engine = TransformersEngine(EngineOptions(str(model), "bfloat16", 256, "cpu", 8), NoArguments())
    samples = sampled(engine, [requests_of([[5, 6, 7]])], Sampling(1.0, 1.0, 16, (2,)))[1000]
    engine.close()
    expected = [untempered_logprobs(model, [5, 6, 7], sample.token_ids) for sample in samples]
    stored = [value for sample in samples for value in sample.logprobs or []]
    worst = max(abs(a - b) for a, b in zip(stored, [value for row in expected for value in row], strict=True))
    assert 1e-3 < worst < 0.5


def test_it_has_no_arguments() -> None:
    with pytest.raises(UsageError, match="engine 'transformers' has no argument 'max_num_seqs'") as caught:
        parse_engine_arguments("transformers", {"max_num_seqs": "4"})
    assert caught.value.option == "engine_arg"


def test_it_cannot_quantize(model: Path) -> None:
    options = EngineOptions(str(model), "float32", 256, "cpu", 8, quantization="fp8")
    with pytest.raises(UsageError, match=r"cannot sample from weights in 'fp8'\. Use --engine vllm\.") as caught:
        TransformersEngine(options, NoArguments())
    assert caught.value.option == "quantization"
