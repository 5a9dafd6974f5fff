"""A LoRA adapter as the policy, in both engines."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from grao_pipeline.fingerprints import adapter_fingerprint
from grao_pipeline.models.source import locate_model
from grao_pipeline.storage.reader import open_table
from tests import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With heads of 16, a size that vLLM's attention on a CPU lacks."""
    return tiny.make_model(tmp_path_factory.mktemp("heads") / "base", num_attention_heads=4)


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes much: both of its factors are random, and its layers have several ranks."""
    path = tmp_path_factory.mktemp("adapter") / "lora"
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "v_proj", "down_proj"],
        rank_pattern={"v_proj": 32},
        init_lora_weights=False,
    )
    get_peft_model(base, config).save_pretrained(str(path))
    return path


@torch.inference_mode()
def logprobs_under(model: Any, prompt: list[int], completion: list[int]) -> list[float]:
    logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    values = torch.log_softmax(logits.double(), -1)[torch.arange(len(completion)), completion]
    logprobs: list[float] = values.tolist()
    return logprobs


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_samples_are_drawn_from_base_and_adapter(
    engine: str, model: Path, adapter: Path, prompts: str, tmp_path: Path
) -> None:
    options = ["--engine", engine, "--samples", 2, "--max-new-tokens", 10, "--temperature", 1.0]
    if engine == "vllm":
        options += ["--engine-arg", "kv_cache_memory_bytes=16777216", "--engine-arg", "max_num_seqs=16"]
    summary = tiny.grao_json("generate", prompts, tmp_path / "out", "--model", model, "--adapter", adapter, *options)
    assert (
        summary["policy"] == locate_model(str(model), str(adapter)).fingerprint != locate_model(str(model)).fingerprint
    )
    base = AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32)
    oracle = PeftModel.from_pretrained(base, str(adapter)).eval()
    for row in open_table(str(tmp_path / "out"), "groups").arrow().to_pylist():
        for ids, logprobs in zip(row["completion_token_ids"], row["completion_logprobs"], strict=True):
            assert logprobs == pytest.approx(logprobs_under(oracle, row["prompt_token_ids"], ids), abs=1e-4)


def test_an_adapters_fingerprint_ignores_the_path_of_its_base_model(adapter: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (copy / name).write_bytes((adapter / name).read_bytes())
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "elsewhere"}))
    assert adapter_fingerprint(copy) == adapter_fingerprint(adapter)
    (copy / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 16}))
    assert adapter_fingerprint(copy) != adapter_fingerprint(adapter)


def test_a_directory_without_adapter_is_named(model: Path, prompts: str, tmp_path: Path) -> None:
    result = tiny.grao("generate", prompts, tmp_path / "out", "--model", model, "--adapter", model)
    assert result.exit_code == 1
    assert f"{model} is not a LoRA adapter: it needs adapter_config.json and adapter_model.safetensors" in result.stderr
