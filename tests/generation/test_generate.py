"""`grao generate`: prompts → groups, and every prompt is accounted for."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from grao_pipeline.fingerprints import model_fingerprint, tokenizer_fingerprint
from grao_pipeline.generation.engines.base import Engine, FakeEngine
from grao_pipeline.generation.engines.make import resolve_engine_name
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.models.devices import resolve_device
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.generation.common import Group, prompts_of_lengths
from tests.manifests import manifest_of

TRANSFORMERS = ("--engine", "transformers", "--samples", 2, "--max-new-tokens", 6, "--temperature", 1.0)


def groups_of(path: Path) -> list[Group]:
    rows: list[Group] = open_table(str(path), "groups").arrow().to_pylist()
    return rows


def parts_of(path: Path) -> dict[str, tuple[int, int]]:
    """(inode, time of the last change) of every part: both stay the same unless the part is rewritten."""
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in sorted(path.glob("part-*.parquet"))}


@pytest.mark.slow
def test_every_prompt_becomes_one_group_in_the_order_of_the_prompts(model: Path, prompts: str, tmp_path: Path) -> None:
    summary = tiny.grao_json("generate", prompts, tmp_path, "--model", model, *TRANSFORMERS, "--prompts-per-part", 4)
    rows = groups_of(tmp_path)
    given = open_table(prompts, "prompts").arrow().drop_columns("samples").to_pylist()
    assert [{name: row[name] for name in given[0]} for row in rows] == given
    assert [pq.read_metadata(path).num_rows for path in sorted(tmp_path.glob("part-*.parquet"))] == [4, 4, 2]
    counts = {name: sum(row["finish_reasons"].count(name) for row in rows) for name in ("stop", "length", "abort")}
    assert summary == summary | {
        "groups": 10,
        "parts_made": 3,
        "parts_found": 0,
        "samples": 20,
        "tokens": sum(len(ids) for row in rows for ids in row["completion_token_ids"]),
        "finish_reasons": counts,
        "prompts_too_long": 0,
        "prompts_clipped": 0,
        "references_too_long": 0,
        "engine": "transformers",
        "device": resolve_device("auto"),
        "dtype": "float32",
        "policy": model_fingerprint(model),
    }


def test_a_group_is_named_by_its_prompt_its_policy_and_its_tokens(groups: str) -> None:
    for row in groups_of(Path(groups)):
        content = json.dumps([row["prompt_id"], row["policy"], row["completion_token_ids"]], separators=(",", ":"))
        assert row["group_id"] == hashlib.sha256(content.encode()).hexdigest()[:32]


@pytest.mark.slow
def test_a_part_says_where_it_came_from(model: Path, prompts: str, tmp_path: Path) -> None:
    options = ["--seed", 5, "--round", 3, "--batch-size", 2, "--prompts-per-part", 5]
    summary = tiny.grao_json("generate", prompts, tmp_path, "--model", model, *TRANSFORMERS, *options)
    manifest = manifest_of(tmp_path)
    for name in ("part-000000.parquet", "part-000001.parquet"):
        metadata = json.loads(pq.read_schema(tmp_path / name).metadata[b"grao"])
        assert metadata == {key: value for key, value in manifest.items() if key not in ("parts", "rows")}
    assert metadata["table"] == "groups"
    assert metadata["contract"] == 2
    assert metadata["fingerprint"] == summary["fingerprint"]
    shaping = {"seed": 5, "round": 3, "temperature": 1.0, "top_p": 1.0, "samples": 2, "max_new_tokens": 6}
    assert metadata["options"] == metadata["options"] | shaping | {"engine": "transformers", "prompts_per_part": 5}
    assert not {"batch_size", "device", "model"} & set(metadata["options"])
    assert metadata["inputs"] == {
        "prompts": open_table(prompts, "prompts").fingerprint,
        "model": model_fingerprint(model),
        "tokenizer": tokenizer_fingerprint(model),
        "stop_token_ids": [2],
    }
    assert metadata["details"]["policy"] == summary["policy"]
    assert metadata["details"]["chat_template"] == tiny.CHAT_TEMPLATE
    assert {"torch", "transformers", "pyarrow", "grao-pipeline"} - set(metadata["versions"]) <= {"grao-pipeline"}
    assert {row["round"] for row in groups_of(tmp_path)} == {3}


@pytest.mark.slow
def test_a_finished_run_is_left_alone(
    model: Path, prompts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a tokenizer loaded, whose import takes seconds."""
    command = ("generate", prompts, tmp_path, "--model", model, *TRANSFORMERS, "--prompts-per-part", 4)
    tiny.grao_json(*command)
    monkeypatch.delattr("grao_pipeline.generation.generate.load_prompt_tokenizer")
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    summary = tiny.grao_json(*command)
    assert (summary["parts_made"], summary["parts_found"], summary["new_samples"], summary["samples"]) == (0, 3, 0, 20)
    assert {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_a_damaged_part_is_said_once_and_regenerated(model: Path, prompts: str, tmp_path: Path) -> None:
    command = ("generate", prompts, tmp_path, "--model", model, *TRANSFORMERS, "--prompts-per-part", 4)
    tiny.grao_json(*command)
    part = tmp_path / "part-000001.parquet"
    data = part.read_bytes()
    part.write_bytes(data[:-100])
    result = tiny.grao(*command)
    assert result.exit_code == 0
    assert result.stderr.count(f"{part} is damaged. It will be regenerated.") == 1
    assert part.read_bytes() == data


@pytest.mark.slow
@pytest.mark.parametrize("lost", [["part-000001.parquet"], [".manifest.parquet", "part-000000.parquet"]])
def test_only_a_lost_part_is_regenerated_and_it_is_the_same(
    lost: list[str], model: Path, prompts: str, tmp_path: Path
) -> None:
    command = ("generate", prompts, tmp_path, "--model", model, *TRANSFORMERS, "--prompts-per-part", 4)
    tiny.grao_json(*command)
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    others = {name: state for name, state in parts_of(tmp_path).items() if name not in lost}
    for name in lost:
        (tmp_path / name).unlink()
    summary = tiny.grao_json(*command)
    assert (summary["parts_made"], summary["parts_found"]) == (1, 2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == content
    assert {name: parts_of(tmp_path)[name] for name in others} == others


@pytest.mark.slow
def test_a_run_resumes_with_another_batch_size(model: Path, prompts: str, tmp_path: Path) -> None:
    """It is not part of the fingerprint: the tokens are the same, log-probs up to the last bits of float32 sums."""
    command = ("generate", prompts, tmp_path, "--model", model, *TRANSFORMERS, "--prompts-per-part", 4)
    tiny.grao_json(*command)
    before = groups_of(tmp_path)
    (tmp_path / "part-000001.parquet").unlink()
    assert tiny.grao_json(*command, "--batch-size", 1)["parts_made"] == 1
    for row, earlier in zip(groups_of(tmp_path), before, strict=True):
        assert row["group_id"] == earlier["group_id"]
        for ours, theirs in zip(row["completion_logprobs"], earlier["completion_logprobs"], strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (("--seed", 1), "seed was 0 and is now 1"),
        (("--temperature", 0.5), "temperature was 1.0 and is now 0.5"),
        (("--prompts-per-part", 3), "prompts_per_part was 64 and is now 3"),
        (("--engine", "vllm"), "engine was 'transformers' and is now 'vllm'"),
    ],
)
def test_other_options_for_the_same_directory_are_refused_and_change_nothing(
    changed: tuple[Any, ...], named: str, model: Path, prompts: str, tmp_path: Path
) -> None:
    command = ("generate", prompts, tmp_path, "--model", model, *TRANSFORMERS)
    tiny.grao_json(*command)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = tiny.grao(*command, *changed)
    assert result.exit_code == 1
    assert named in result.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_another_model_or_other_stop_tokens_change_the_fingerprint(model: Path, prompts: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    command = ("generate", prompts, tmp_path / "out", "--model", other, *TRANSFORMERS)
    tiny.grao_json(*command)
    (other / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    assert "input stop_token_ids was [2] and is now [2, 7]" in tiny.grao(*command).stderr
    shutil.rmtree(other)
    tiny.make_model(other, seed=1)
    assert "input model was " in tiny.grao(*command).stderr


def test_a_copy_of_the_model_has_the_same_fingerprint(model: Path, prompts: str, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "copy")
    tiny.grao_json("generate", prompts, tmp_path / "out", "--model", model, *TRANSFORMERS)
    summary = tiny.grao_json("generate", prompts, tmp_path / "out", "--model", tmp_path / "copy", *TRANSFORMERS)
    assert summary["parts_made"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_prompts_near_the_end_of_the_context_are_clipped_and_longer_ones_aborted(
    engine: str, model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A context of 40 leaves 20, 8, 7 and 1 tokens after prompts of 20, 32, 33 and 39, and none after 40 and 41."""
    lengths = [20, 32, 33, 39, 40, 41]
    table = prompts_of_lengths(tmp_path / "prompts", lengths)
    opened: Engine = request.getfixturevalue(f"{engine}_engine")
    options = GenerateOptions(
        model=str(model), samples=3, max_new_tokens=8, temperature=1.0, max_model_len=40, prompts_per_part=2
    )
    summary = generate_groups(table, str(tmp_path / "out"), options, make_engine=lambda _: opened)
    rows = groups_of(tmp_path / "out")
    assert [len(row["prompt_token_ids"]) for row in rows] == lengths
    for row, budget in zip(rows, [8, 8, 7, 1, 0, 0], strict=True):
        for ids, reason in zip(row["completion_token_ids"], row["finish_reasons"], strict=True):
            assert len(ids) == budget or (reason == "stop" and len(ids) < budget)
            assert (reason == "abort") == (budget == 0)
    assert [row["completions"] for row in rows[4:]] == [[""] * 3] * 2
    assert [row["completion_logprobs"] for row in rows[4:]] == [[[]] * 3] * 2
    assert (summary.prompts_clipped, summary.prompts_too_long) == (2, 2)
    assert (summary.samples, summary.finish_reasons["abort"]) == (18, 6)
    assert summary.parts_made == 3  # the last part has nothing to sample


@pytest.mark.slow
def test_a_reference_that_does_not_fit_the_context_gets_no_token_ids(model: Path, tmp_path: Path) -> None:
    rows = [tiny.prompt_row("Say hello.", "hello"), tiny.prompt_row("Say hello.", "hello " * 60)]
    table = tiny.write_table(tmp_path / "prompts", "prompts", rows)
    options = ["--model", model, *TRANSFORMERS, "--max-model-len", 64, "--max-new-tokens", 4]
    summary = tiny.grao_json("generate", table, tmp_path / "out", *options)
    assert summary["references_too_long"] == 1
    assert [row["reference_token_ids"] is None for row in groups_of(tmp_path / "out")] == [False, True]


def test_duplicate_prompts_are_refused_by_name(model: Path, tmp_path: Path) -> None:
    row = tiny.prompt_row("Say hello.")
    table = tiny.write_table(tmp_path / "prompts", "prompts", [row, tiny.prompt_row("Say bye."), row])
    result = tiny.grao("generate", table, tmp_path / "out", "--model", model, *TRANSFORMERS)
    assert result.exit_code == 1
    assert f"prompt ID {row['prompt_id']} appears twice" in result.stderr


def test_a_table_of_another_kind_is_refused(model: Path, groups: str, tmp_path: Path) -> None:
    result = tiny.grao("generate", groups, tmp_path / "out", "--model", model, *TRANSFORMERS)
    assert result.exit_code == 1
    assert f"{groups} is a directory of kind 'groups'; this needs a table of kind 'prompts'" in result.stderr


def test_a_tokenizer_of_another_model_is_refused(model: Path, prompts: str, tmp_path: Path) -> None:
    """Its template begins with a token that is not in the model's vocabulary."""
    shutil.copytree(model, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "model"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|new|>"]})
    tokenizer.chat_template = "<|new|>" + tiny.CHAT_TEMPLATE
    tokenizer.save_pretrained(str(tmp_path / "model"))
    result = tiny.grao("generate", prompts, tmp_path / "out", "--model", tmp_path / "model", *TRANSFORMERS)
    assert result.exit_code == 1
    assert re.search(r"has token id 32\d, but the model's vocabulary has 320 tokens", result.stderr)


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_a_missing_model_is_named(engine: str, prompts: str, tmp_path: Path) -> None:
    for missing in (tmp_path / "none", "./none"):
        result = tiny.grao("generate", prompts, tmp_path / "out", "--model", missing, "--engine", engine)
        assert result.exit_code == 1
        assert f"Model '{missing}': there is no such directory" in result.stderr
    result = tiny.grao("generate", prompts, tmp_path / "out", "--model", tmp_path, "--engine", engine)
    assert f"{tmp_path} is not a model directory: it has no config.json" in result.stderr


def test_weights_that_cannot_be_read_are_named(model: Path, prompts: str, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    result = tiny.grao("generate", prompts, tmp_path / "out", "--model", tmp_path / "model", *TRANSFORMERS)
    assert result.exit_code == 1
    assert f"{weights} is damaged (Error while deserializing header: incomplete metadata" in result.stderr


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_a_reward_model_is_refused_as_policy(engine: str, prompts: str, tmp_path: Path) -> None:
    path = tiny.make_reward_model(tmp_path / "reward")
    result = tiny.grao("generate", prompts, tmp_path / "out", "--model", path, "--engine", engine)
    assert result.exit_code == 1
    assert f"{path} is a Qwen2ForSequenceClassification; a policy is a causal language model" in result.stderr


def test_a_model_with_missing_weights_is_refused(prompts: str, tmp_path: Path) -> None:
    path = tiny.make_reward_model(tmp_path / "headless")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "architectures": ["Qwen2ForCausalLM"]}))
    result = tiny.grao("generate", prompts, tmp_path / "out", "--model", path, *TRANSFORMERS)
    assert result.exit_code == 1
    assert f"{path} lacks weights that Qwen2ForCausalLM needs: lm_head.weight" in result.stderr


def test_a_context_beyond_the_models_positions_is_wrong_usage(model: Path, prompts: str, tmp_path: Path) -> None:
    options = (*TRANSFORMERS, "--max-model-len", 257)
    result = tiny.grao("generate", prompts, tmp_path, "--model", model, *options)
    assert result.exit_code == 2
    assert "257 is too long; the model's positions end at 256" in result.stderr


@pytest.mark.slow
def test_a_template_file_shapes_the_prompt_and_the_fingerprint(model: Path, prompts: str, tmp_path: Path) -> None:
    template = tmp_path / "plain.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }}{% endfor %} #### {{ '' if add_generation_prompt }}")
    options = (*TRANSFORMERS, "--chat-template", template)
    summary = tiny.grao_json("generate", prompts, tmp_path / "out", "--model", model, *options)
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    first = groups_of(tmp_path / "out")[0]
    assert tokenizer.decode(first["prompt_token_ids"]) == "Say the number 0. #### "
    plain = tiny.grao_json("generate", prompts, tmp_path / "plain", "--model", model, *TRANSFORMERS)
    assert summary["fingerprint"] != plain["fingerprint"]
    template.rename(tmp_path / "moved.jinja")  # its text counts, not its place
    moved = (*TRANSFORMERS, "--chat-template", tmp_path / "moved.jinja")
    assert tiny.grao_json("generate", prompts, tmp_path / "out", "--model", model, *moved)["parts_made"] == 0
    (tmp_path / "moved.jinja").write_text("{{ messages[0]['content'] }}")
    assert "chat_template was " in tiny.grao("generate", prompts, tmp_path / "out", "--model", model, *moved).stderr


def test_an_empty_template_is_not_the_tokenizers_own(model: Path, prompts: str, tmp_path: Path) -> None:
    (tmp_path / "empty.jinja").write_text("")
    options = (*TRANSFORMERS, "--chat-template", tmp_path / "empty.jinja")
    result = tiny.grao("generate", prompts, tmp_path / "out", "--model", model, *options)
    assert result.exit_code == 1
    assert "is empty: its chat template makes no text of it" in result.stderr


@pytest.mark.slow
def test_a_base_model_is_sampled_under_the_plain_template(tmp_path: Path) -> None:
    base = tiny.make_model(tmp_path / "base", chat_template=None)
    table = tiny.write_table(tmp_path / "prompts", "prompts", [tiny.prompt_row("Say hello.", "Hello!")])
    tiny.grao_json("generate", table, tmp_path / "out", "--model", base, *TRANSFORMERS)
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    row = groups_of(tmp_path / "out")[0]
    assert tokenizer.decode(row["prompt_token_ids"]) == "Human: Say hello.\n\nAssistant:"
    assert tokenizer.decode(row["reference_token_ids"]) == " Hello!<|im_end|>"


def test_no_prompts_make_no_groups(model: Path, tmp_path: Path) -> None:
    table = tiny.write_table(tmp_path / "prompts", "prompts", [])
    summary = tiny.grao_json("generate", table, tmp_path / "out", "--model", model, *TRANSFORMERS)
    assert (summary["groups"], summary["parts_made"]) == (0, 0)
    assert groups_of(tmp_path / "out") == []


def test_an_engine_is_asked_only_for_the_groups_that_are_missing(model: Path, prompts: str, tmp_path: Path) -> None:
    options = GenerateOptions(model=str(model), engine="transformers", samples=2, prompts_per_part=4)
    generate_groups(prompts, str(tmp_path), options, make_engine=lambda _: FakeEngine())
    (tmp_path / "part-000002.parquet").unlink()
    engine = FakeEngine()
    summary = generate_groups(prompts, str(tmp_path), options, make_engine=lambda _: engine)
    assert engine.num_requests == 2
    assert (summary.parts_made, summary.parts_found, summary.new_tokens, summary.tokens) == (1, 2, 12, 60)


@pytest.mark.vllm
def test_auto_is_vllm_where_vllm_is_installed() -> None:
    assert resolve_engine_name("auto") == "vllm"
    assert resolve_engine_name("transformers") == "transformers"
