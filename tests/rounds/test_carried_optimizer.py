"""Rounds with `carry_optimizer` are one training: against a loop in memory that shares no code with the trainer."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoTokenizer

from grao_pipeline.models.source import locate_model
from tests import tiny
from tests.rounds.running import run
from tests.training import oracle

ROUNDS, SAMPLES, LENGTH, TARGET = 10, 3, 5, 12
QUESTIONS = {
    "Say one.": "It is one.",
    "Say hello to the world, please.": "Hello world!",
    "2 + 3?": "The answer is five.",
}
LEARNING_RATE, WARMUP = 1e-3, 4


def write_config(directory: Path, model: Path, table: str, **train: Any) -> Path:
    """Rounds of one optimizer step on all prompts."""
    config: dict[str, Any] = {
        "output": str(directory / "run"),
        "model": str(model),
        "rounds": ROUNDS,
        "prompts": {"train": table},
        "generate": {"engine": "transformers", "samples": SAMPLES, "max_new_tokens": LENGTH, "temperature": 1.0},
        "score": {"reward": "length", "reward_arg": [f"target={TARGET}", "unit=characters"]},
        "train": {"learning_rate": LEARNING_RATE, "warmup_steps": WARMUP, "carry_optimizer": True, **train},
    }
    path = directory / "rounds.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [tiny.prompt_row(question, answer) for question, answer in QUESTIONS.items()]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> str:
    return tiny.write_table(tmp_path_factory.mktemp("questions") / "table", "prompts", rows)


def sample(model: Any, prompt: Sequence[int], uniforms: Sequence[float], end: int) -> list[int]:
    """Draw tokens one by one, each by inverting the cumulative distribution at a uniform number."""
    ids: list[int] = []
    with torch.no_grad():
        for uniform in uniforms:
            cumulative = model(torch.tensor([[*prompt, *ids]])).logits[0, -1].softmax(-1).double().cumsum(-1)
            ids.append(int(torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)))
            if ids[-1] == end:
                break
    return ids


def reward(text: str) -> float:
    return max(0.0, 1.0 - abs(len(text) - TARGET) / TARGET)


def online(model: Path, rows: Sequence[dict[str, Any]]) -> tuple[Any, list[list[list[int]]]]:
    """Sample, score and step in memory: one model, one optimizer. The trained model, and each round's samples."""
    tokenizer, policy = AutoTokenizer.from_pretrained(str(model)), oracle.load_model(model)
    optimizer = torch.optim.AdamW(policy.parameters(), weight_decay=0.01, foreach=False)
    end, sampled = tokenizer.eos_token_id, []
    for number in range(ROUNDS):
        groups, advantages = [], []
        for row in rows:
            text = json.dumps([0, number, row["prompt_id"]], separators=(",", ":"))  # seed, round, prompt
            seed = int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
            uniforms = torch.rand(SAMPLES, LENGTH, generator=torch.Generator().manual_seed(seed)).double().tolist()
            prompt = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_dict=False)
            ids = [sample(policy, prompt, line, end) for line in uniforms]
            rewards = [reward(tokenizer.decode(one, skip_special_tokens=True)) for one in ids]
            of_samples, of_reference = oracle.group_advantages(
                rewards, reward(row["reference"]), "samples_and_reference"
            )
            reference = [*tokenizer.encode(row["reference"], add_special_tokens=False), end]
            groups.append({"prompt_token_ids": prompt, "completion_token_ids": ids, "reference_token_ids": reference})
            advantages.append({"advantages": of_samples, "reference_advantage": of_reference, "token_weights": None})
        sampled.append([group["completion_token_ids"] for group in groups])
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, (number + 1) / (WARMUP + 1))
        oracle.backward(-oracle.step_terms(policy, groups, advantages, beta=0.5, lambda_=0.6).total)
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0, foreach=False)
        optimizer.step()
        optimizer.zero_grad()
    return policy, sampled


@pytest.mark.slow
def test_ten_rounds_of_one_step_end_in_the_weights_of_a_loop_in_memory(
    tmp_path: Path, model: Path, table: str, rows: list[dict[str, Any]]
) -> None:
    """To 1e-5, but for the biases of the keys: softmax does not see them, so their gradient is rounding noise, which
    Adam turns into steps."""
    expected, sampled = online(model, rows)
    summary = run(write_config(tmp_path, model, table))
    assert summary["made"].count("round-9/train") == 1
    for number in range(ROUNDS):
        made = oracle.table_rows(tmp_path / "run" / f"round-{number}" / "generate")
        assert [row["completion_token_ids"] for row in made] == sampled[number], f"round {number}"
    trained = dict(oracle.load_model(tmp_path / "run" / "round-9" / "train").named_parameters())
    start = dict(oracle.load_model(model).named_parameters())
    moved = 0.0
    for name, weight in expected.named_parameters():
        if not name.endswith("k_proj.bias"):
            torch.testing.assert_close(trained[name], weight, rtol=0, atol=1e-5, msg=name)
            moved = max(moved, float((weight - start[name]).detach().abs().max()))
    assert moved > 5e-3  # ten steps of about 1e-3


@pytest.mark.slow
def test_what_is_carried_is_part_of_a_trainings_identity(tmp_path: Path, model: Path, table: str) -> None:
    config = write_config(tmp_path, model, table)
    values = yaml.safe_load(config.read_text()) | {"rounds": 2}
    config.write_text(yaml.safe_dump(values))
    run(config)
    first, second = (
        json.loads((tmp_path / "run" / f"round-{number}" / "train" / "manifest.json").read_text()) for number in (0, 1)
    )
    assert (first["summary"]["optimizer_steps"], second["summary"]["optimizer_steps"]) == (1, 2)
    assert "optimizer" not in first["inputs"]
    assert len(second["inputs"]["optimizer"]) == 32
    assert any(name.startswith("optimizer/") for name in second["files"])
    del values["train"]["carry_optimizer"]
    config.write_text(yaml.safe_dump(values))
    again = run(config)
    assert again["made"][:1] == ["round-0/train"]
    fresh = json.loads((tmp_path / "run" / "round-1" / "train" / "manifest.json").read_text())
    assert fresh["fingerprint"] != second["fingerprint"]
    assert not any(name.startswith("optimizer/") for name in fresh["files"])


@pytest.mark.slow
def test_an_adapter_stays_one_through_the_rounds_and_only_adapters_are_stored(
    tmp_path: Path, model: Path, table: str
) -> None:
    config = write_config(tmp_path, model, table, lora_rank=4, save_adapter=True)
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"rounds": 2}))
    run(config)
    first, second = (tmp_path / "run" / f"round-{number}" for number in (0, 1))
    for trained in (first / "train", second / "train"):
        assert (trained / "adapter_model.safetensors").is_file()
        assert not (trained / "model.safetensors").exists()
    policies = [locate_model(str(model)).fingerprint, locate_model(str(model), str(first / "train")).fingerprint]
    sampled = [{row["policy"] for row in oracle.table_rows(number / "generate")} for number in (first, second)]
    assert sampled == [{policies[0]}, {policies[1]}]
    manifest = json.loads((second / "train" / "manifest.json").read_text())
    assert (manifest["inputs"]["model"], manifest["summary"]["optimizer_steps"]) == (policies[1], 2)
