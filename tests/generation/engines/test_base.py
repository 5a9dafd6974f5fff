"""What every engine keeps: held by real vLLM, by transformers, and where it can be by the public fake."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from grao_pipeline.generation.engines.base import Engine, FakeEngine, Request, Sampling
from grao_pipeline.models.source import load_tokenizer, locate_model
from grao_pipeline.schemas import GROUPS
from grao_pipeline.storage.validation import conform, validate
from tests.generation.common import STOPS, Group, oracle, token_ids, untempered_logprobs

Sample = Callable[..., list[Group]]
SAMPLINGS = {
    "plain": {"temperature": 1.0},
    "hot nucleus": {"temperature": 1.5, "top_p": 0.8},
    "cold": {"temperature": 0.3},
}


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_stored_logprobs_are_untempered(
    engine: Engine, sampling: dict[str, float], sample: Sample, mixed_prompts: str, stopping_model: Path
) -> None:
    for group in sample(engine, mixed_prompts, **sampling):
        for ids, logprobs in zip(group["completion_token_ids"], group["completion_logprobs"], strict=True):
            expected = untempered_logprobs(stopping_model, group["prompt_token_ids"], ids)
            assert logprobs == pytest.approx(expected, abs=2e-5)


def test_a_completion_ends_at_its_first_stop_token_and_keeps_it(
    engine: Engine, sample: Sample, mixed_prompts: str
) -> None:
    seen = set()
    for group in sample(engine, mixed_prompts, temperature=1.0):
        for ids, reason in zip(group["completion_token_ids"], group["finish_reasons"], strict=True):
            stops_at = next((index for index, token in enumerate(ids) if token in STOPS), None)
            assert stops_at in (None, len(ids) - 1)
            assert reason == ("length" if stops_at is None else "stop")
            assert len(ids) == 12 or reason == "stop"
            assert len(ids) <= 12
            seen.add((reason, len(ids) == 12))
    assert seen >= {("stop", False), ("length", True)}  # the cases did occur


def test_a_stop_token_in_the_last_place_counts_as_a_stop(engine: Engine, sample: Sample, mixed_prompts: str) -> None:
    groups = sample(engine, mixed_prompts, temperature=1.0, max_new_tokens=1, samples=16)
    seen = set()
    for group in groups:
        for ids, reason in zip(group["completion_token_ids"], group["finish_reasons"], strict=True):
            assert (reason == "stop") == (ids[0] in STOPS)
            seen.add(reason)
    assert seen == {"stop", "length"}


def test_texts_are_the_decoded_ids_without_special_tokens(
    engine: Engine, sample: Sample, mixed_prompts: str, stopping_model: Path
) -> None:
    tokenizer = load_tokenizer(locate_model(str(stopping_model)))
    for group in sample(engine, mixed_prompts, temperature=1.0):
        decoded = [tokenizer.decode(ids, skip_special_tokens=True) for ids in group["completion_token_ids"]]
        assert group["completions"] == decoded
        assert not any("<|" in text for text in decoded)


def test_groups_follow_the_contract_and_the_vocabulary(engine: Engine, sample: Sample, mixed_prompts: str) -> None:
    groups = sample(engine, mixed_prompts, samples=5)
    validate(conform(pa.Table.from_pylist(groups), GROUPS, "groups"), GROUPS, "groups")
    for group in groups:
        assert len(group["completions"]) == 5
        assert all(0 <= token < 320 for ids in group["completion_token_ids"] for token in ids)
        assert all(ids for ids in group["completion_token_ids"])


def test_samples_of_a_group_differ_and_so_do_groups_of_the_same_conversation(
    engine: Engine, sample: Sample, mixed_prompts: str
) -> None:
    groups = sample(engine, mixed_prompts, temperature=1.0, samples=8)
    assert groups[8]["messages"] == groups[9]["messages"]
    assert groups[8]["prompt_token_ids"] == groups[9]["prompt_token_ids"]
    both = [tuple(ids) for group in groups[8:10] for ids in group["completion_token_ids"] if len(ids) > 2]
    assert len(set(both)) == len(both) > 8


@pytest.mark.slow
def test_seed_and_round_determine_the_tokens(engine: Engine, sample: Sample, mixed_prompts: str) -> None:
    runs = [
        token_ids(sample(engine, mixed_prompts, temperature=1.0, **options))
        for options in ({}, {}, {"seed": 1}, {"round": 1})
    ]
    assert runs[0] == runs[1]
    pairs = [(runs[a], runs[b]) for a, b in ((0, 2), (0, 3), (2, 3))]
    for one, other in pairs:
        flat = [
            (tuple(a), tuple(b))
            for group, twin in zip(one, other, strict=True)
            for a, b in zip(group, twin, strict=True)
            if len(a) > 2
        ]
        assert len(flat) > 10
        assert all(a != b for a, b in flat)


@pytest.mark.slow
def test_samples_do_not_depend_on_the_size_of_a_part(engine: Engine, sample: Sample, mixed_prompts: str) -> None:
    whole = sample(engine, mixed_prompts, temperature=1.0, prompts_per_part=64)
    for size in (1, 3):
        parts = sample(engine, mixed_prompts, temperature=1.0, prompts_per_part=size)
        assert [group["group_id"] for group in parts] == [group["group_id"] for group in whole]


@pytest.mark.slow
def test_temperature_zero_is_greedy_and_repeats_one_completion(
    engine: Engine, sample: Sample, mixed_prompts: str, stopping_model: Path
) -> None:
    for group in sample(engine, mixed_prompts, temperature=0.0, samples=3):
        prompt = group["prompt_token_ids"]
        expected = oracle(stopping_model).generate(
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=STOPS, pad_token_id=0
        )
        assert group["completion_token_ids"] == [expected[0, len(prompt) :].tolist()] * 3


def test_both_engines_see_the_same_prompts_and_references(
    vllm_engine: Engine, transformers_engine: Engine, sample: Sample, mixed_prompts: str
) -> None:
    columns = ["prompt_id", "messages", "reference", "metadata", "prompt_token_ids", "reference_token_ids", "policy"]
    of_vllm, of_transformers = (
        [{name: group[name] for name in columns} for group in sample(engine, mixed_prompts)]
        for engine in (vllm_engine, transformers_engine)
    )
    assert of_vllm == of_transformers
    assert [group["reference_token_ids"] is None for group in of_vllm] == [i % 3 == 2 for i in range(11)]


@pytest.mark.parametrize("fake", [False, True])
def test_a_request_comes_back_with_its_key_and_its_number_of_samples(engine: Engine, fake: bool) -> None:
    chosen: Engine = FakeEngine() if fake else engine
    parts = [
        [Request((0, 0), [5, 6, 7], 3, 11, 4), Request((0, 1), [8, 9], 1, 12, 4)],
        [],
        [Request((2, 0), [5], 2, 13, 4)],
    ]
    by_key = {g.key: g.samples for g in chain(*chosen.generate(parts, Sampling(1.0, 1.0, 4, (2,))))}
    assert {key: len(samples) for key, samples in by_key.items()} == {(0, 0): 3, (0, 1): 1, (2, 0): 2}
    assert all(
        s.logprobs is not None and len(s.token_ids) == len(s.logprobs) for samples in by_key.values() for s in samples
    )


def test_a_shorter_request_is_the_beginning_of_a_longer_one(engine: Engine) -> None:
    sampling = Sampling(1.0, 1.0, 20, (2,))
    prompts = [[5, 6, 7], [30, 31, 32, 33, 34, 35], [40]]
    runs = []
    for budgets in ((20, 20, 20), (1, 5, 13)):
        requests = [Request((0, i), p, 4, 100 + i, b) for i, (p, b) in enumerate(zip(prompts, budgets, strict=True))]
        runs.append({group.key: group.samples for group in chain(*engine.generate([requests], sampling))})
    whole, cut = runs
    for key, budget in {(0, 0): 1, (0, 1): 5, (0, 2): 13}.items():
        assert [s.token_ids for s in cut[key]] == [s.token_ids[:budget] for s in whole[key]]
        assert all(s.finish_reason == ("stop" if s.token_ids[-1] == 2 else "length") for s in cut[key])
