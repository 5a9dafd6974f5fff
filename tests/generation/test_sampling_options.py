"""Options of sampling, from the command to the table: limit, stop strings, generation_config.json, fingerprints."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.generation.engines.base import Engine, FakeEngine, Request, Sampling
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.generation_config import unused_note, with_generation_config
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.models.source import load_tokenizer, locate_model
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.generation.common import Group

Sample = Callable[..., list[Group]]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The tiny model with the sampling of a Qwen3 in its generation_config.json."""
    path = tmp_path_factory.mktemp("tuned") / "model"
    shutil.copytree(model, path)
    config = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "do_sample": True, "eos_token_id": 2}
    (path / "generation_config.json").write_text(json.dumps(config))
    return path


def test_the_models_sampling_is_used_where_options_are_not_given(tuned: Path) -> None:
    options = GenerateOptions(model=str(tuned), use_generation_config=True, temperature=0.7)
    resolved = with_generation_config(options, tuned)
    assert (resolved.temperature, resolved.top_p, resolved.top_k, resolved.min_p) == (0.7, 0.95, 20, 0.0)
    assert with_generation_config(resolved, tuned) == resolved
    assert with_generation_config(GenerateOptions(model="m"), tuned).top_k == 0


@pytest.mark.parametrize(
    ("options", "note"),
    [
        (
            {},
            "generation_config.json asks for temperature 0.6, top_p 0.95, top_k 20; not used. "
            "Use --use-generation-config.",
        ),
        ({"use_generation_config": True}, None),
        (
            {"use_generation_config": True, "top_k": 5},
            "generation_config.json asks for top_k 20; not used. The given options apply.",
        ),
        ({"temperature": 0.6, "top_p": 0.95, "top_k": 20}, None),
    ],
)
def test_what_is_ignored_of_the_models_sampling_is_said(tuned: Path, options: dict[str, Any], note: str | None) -> None:
    given = with_generation_config(GenerateOptions(model=str(tuned), **options), tuned)
    assert unused_note(given, tuned) == note


def test_other_fields_that_change_sampling_are_said_too(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"no_repeat_ngram_size": 3, "typical_p": 1.0, "min_p": null}')
    note = unused_note(GenerateOptions(model="m"), tmp_path)
    assert note == "generation_config.json asks for no_repeat_ngram_size 3; not used. See --sampling-arg."


def test_a_value_that_cannot_be_sampled_with_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"top_p": 1.5, "top_k": -1}')
    with pytest.raises(InputError, match=r"generation_config\.json: top_p is 1\.5"):
        with_generation_config(GenerateOptions(model="m", use_generation_config=True), tmp_path)


def test_the_resolved_sampling_is_in_the_tables_provenance(tuned: Path, prompts: str, tmp_path: Path) -> None:
    command = ["generate", prompts, tmp_path / "out", "--model", tuned, "--engine", "transformers", "--samples", 2]
    command += ["--max-new-tokens", 4, "--limit", 3]
    tiny.grao_json(*command, "--use-generation-config")
    table = open_table(str(tmp_path / "out"))
    assert {name: table.provenance.options[name] for name in ("temperature", "top_p", "top_k", "limit")} == {
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 20,
        "limit": 3,
    }
    rows = table.arrow().to_pylist()
    assert [row["prompt_id"] for row in rows] == open_table(prompts).arrow()["prompt_id"].to_pylist()[:3]
    for row in rows:
        for ids, policy, sampled in zip(
            row["completion_token_ids"], row["completion_logprobs"], row["completion_behavior_logprobs"], strict=True
        ):
            assert len(ids) == len(policy) == len(sampled)
            assert policy != sampled


def test_limit_is_said_and_counted(model: Path, prompts: str, tmp_path: Path) -> None:
    progress = RecordedProgress()
    options = GenerateOptions(model=str(model), engine="transformers", samples=1, max_new_tokens=2, limit=4)
    summary = generate_groups(prompts, str(tmp_path / "out"), options, progress)
    assert (summary.groups, summary.samples) == (4, 4)
    assert "The first 4 of 10 prompts are sampled from (--limit)." in progress.notes


@pytest.mark.parametrize("temperature", [1.0, 0.0, 0.5])
def test_the_column_of_behavior_log_probs_is_null_only_for_the_policy_itself(
    engine: Engine, sample: Sample, mixed_prompts: str, temperature: float
) -> None:
    for group in sample(engine, mixed_prompts, temperature=temperature, samples=2, max_new_tokens=4, limit=2):
        values = group["completion_behavior_logprobs"]
        if temperature == 1.0:
            assert values is None
        elif temperature == 0.0:  # greedy sampling can draw one token alone
            assert values == [[0.0] * len(ids) for ids in group["completion_token_ids"]]
        else:
            assert all(b < 0 for row in values for b in row)


def test_an_engine_that_does_not_know_its_distribution_says_so(model: Path, prompts: str, tmp_path: Path) -> None:
    options = GenerateOptions(model=str(model), samples=2, temperature=0.5, limit=1)
    summary = generate_groups(prompts, str(tmp_path / "out"), options, make_engine=lambda _: FakeEngine())
    [row] = open_table(str(tmp_path / "out")).arrow().to_pylist()
    assert row["completion_behavior_logprobs"] == [None, None]
    assert any("--correction refuses these samples" in note for note in summary.notes)


def stop_strings_of(engine: Engine, sample: Sample, prompts: str) -> list[str]:
    """Pairs of letters that plain samples have in their middle."""
    groups = sample(engine, prompts, temperature=1.0)
    texts = [text for group in groups for text in group["completions"]]
    pairs = [match[0] for text in texts if (match := re.search("(?<=..)[a-z]{2}", text))]
    return list(dict.fromkeys(pairs))[:6]


@pytest.mark.slow
def test_a_stop_string_ends_a_completion_and_its_tokens_stay(
    transformers_engine: Engine, sample: Sample, mixed_prompts: str, stopping_model: Path
) -> None:
    """The oracle: the same samples without stop strings, token by token."""
    tokenizer = load_tokenizer(locate_model(str(stopping_model)))
    stops = stop_strings_of(transformers_engine, sample, mixed_prompts)
    assert stops
    plain = sample(transformers_engine, mixed_prompts, temperature=1.0)
    stopped = sample(transformers_engine, mixed_prompts, temperature=1.0, stop=stops)
    num_cut = 0
    for group, expected in zip(stopped, plain, strict=True):
        columns = ("completion_token_ids", "completion_logprobs", "completions", "finish_reasons")
        rows = zip(*(group[name] for name in columns), group["completion_token_ends"], strict=True)
        for (ids, logprobs, text, reason, ends), whole in zip(rows, expected["completion_token_ids"], strict=True):
            texts = [tokenizer.decode(whole[:n], skip_special_tokens=True) for n in range(len(whole) + 1)]
            length = next((n for n, part in enumerate(texts) if any(stop in part for stop in stops)), None)
            assert ids == whole[:length]
            assert len(logprobs) == len(ids)
            assert not any(stop in text for stop in stops)
            assert texts[len(ids)].startswith(text)
            assert ends[-1] == len(text)
            if length is not None:
                num_cut += 1
                assert reason == "stop"
    assert num_cut >= 3


@pytest.mark.vllm
def test_vllm_stops_at_a_stop_string_itself(model: Path) -> None:
    """It gets the tokenizer, and does not sample on to the budget."""
    from grao_pipeline.generation.engines.base import EngineOptions
    from grao_pipeline.generation.engines.vllm import VllmArguments, VllmEngine

    tokenizer = load_tokenizer(locate_model(str(model)))
    options = EngineOptions(str(model), "float32", 256, "cpu", 32, reads_text=True)
    engine = VllmEngine(options, VllmArguments(max_num_seqs=8, kv_cache_memory_bytes=16 << 20))
    request = Request((0, 0), [5, 6, 7], 8, 1, 40)
    [[plain]] = engine.generate([[request]], Sampling(1.0, 1.0, 40, (2,)))
    stop = tokenizer.decode(plain.samples[0].token_ids[4:5])
    [[group]] = engine.generate([[request]], Sampling(0.9, 1.0, 40, (2,), stop=(stop, "e")))
    engine.close()
    assert any(len(sample.token_ids) < 40 and sample.token_ids[-1] != 2 for sample in group.samples)
    for sample in group.samples:
        assert "e" not in tokenizer.decode(sample.token_ids[:-1])
        assert len(sample.behavior_logprobs or []) == len(sample.token_ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sampling-arg", "beam=3"], "engine 'transformers' has no argument 'beam'. It has: typical_p, "),
        (["--sampling-arg", "typical_p=much"], "typical_p=much: input should be a valid number"),
        (["--sampling-arg", "typical_p"], "'typical_p': expected key=value"),
        (["--top-k", "-1"], "--top-k: input should be greater than or equal to 0"),
        (["--stop", ""], "--stop: a stop string needs at least one character"),
    ],
)
def test_a_wrong_option_of_sampling_is_wrong_usage(
    model: Path, prompts: str, tmp_path: Path, options: list[str], message: str
) -> None:
    result = tiny.grao("generate", prompts, tmp_path / "out", "--model", model, "--engine", "transformers", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_an_engine_without_an_option_of_sampling_refuses_it(model: Path, prompts: str, tmp_path: Path) -> None:
    options = GenerateOptions(model=str(model), engine="grao_pipeline.testing:FakeEngine", min_p=0.1)
    with pytest.raises(UsageError, match="does not have it") as caught:
        generate_groups(prompts, str(tmp_path / "out"), options)
    assert caught.value.option == "min_p"


@pytest.mark.parametrize("change", [{"top_k": 5}, {"stop": ["x"]}, {"sampling_arg": ["typical_p=0.5"]}, {"limit": 3}])
def test_every_option_of_sampling_shapes_the_fingerprint(change: dict[str, Any]) -> None:
    plain = GenerateOptions(model="m")
    assert plain.model_copy(update=change).content() != plain.content()
