"""LoRA: the gradient is peft's own, the base stays, and what is written is what the next round samples from."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from transformers import AutoModelForCausalLM

from grao_pipeline.fingerprints import model_fingerprint
from grao_pipeline.models.source import locate_model
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.gradient import GradientAccumulator
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.model.loading import load_policy
from grao_pipeline.training.objectives.grao import Grao
from grao_pipeline.training.objectives.importance_sampling import make_correction
from grao_pipeline.training.options import TrainOptions
from tests import tiny
from tests.training import oracle
from tests.training.ranks import Training, steps_logged

ALONE = Ranks(0, 1, torch.device("cpu"), is_sharded=False)
LORA = ["--lora-rank", 4, "--lora-alpha", 8, "--learning-rate", "1e-2", "--groups-per-step", 5, "--device", "cpu"]


def tensors(directory: Path, name: str = "model.safetensors") -> dict[str, Tensor]:
    made: dict[str, Tensor] = load_file(directory / name)
    return made


def shake(parameters: Mapping[str, Tensor]) -> None:
    """A fresh adapter's B is zero, and then A has no gradient: move both, reproducibly."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in sorted(parameters.items()):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [{}, {"gradient_checkpointing": True}, {"attention": "rows"}, {"lora_target": ["q_proj", "up_proj"]}]
)
def test_the_gradient_of_an_adapter_is_that_of_peft_row_by_row(
    groups: str, advantages: str, model: Path, more: dict[str, Any]
) -> None:
    options = TrainOptions(model=str(model), lora_rank=4, lora_alpha=8.0, **more)
    data = TrainingSet(open_table(groups, "groups"), open_table(advantages, "advantages"))
    policy, _ = load_policy(locate_model(str(model)), options, ALONE)
    trained = {name: p for name, p in policy.model.named_parameters() if p.requires_grad}
    shake(trained)
    maker = GradientAccumulator(policy, Grao(options.beta, options.lambda_), make_correction(options), options, ALONE)
    maker.add([data[index] for index in range(len(data))], lambda: None)

    targets = more.get("lora_target", ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=targets)
    plain = peft.get_peft_model(oracle.load_model(model), config)
    expected = {name: p for name, p in plain.named_parameters() if p.requires_grad}
    assert trained.keys() == expected.keys()
    shake(expected)
    with torch.no_grad():
        for name, parameter in trained.items():
            expected[name].copy_(parameter)  # A starts from random numbers
    rows = [*oracle.table_rows(groups)], [*oracle.table_rows(advantages)]
    oracle.backward(-oracle.step_terms(plain, *rows, options.beta, options.lambda_).total)
    for name, parameter in trained.items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=2e-4, atol=2e-6)
    assert all(p.grad is None for p in policy.parameters() if not p.requires_grad)


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory, groups: str, advantages: str, model: Path) -> Path:
    out = tmp_path_factory.mktemp("merged") / "out"
    tiny.grao_json("train", groups, advantages, out, "--model", model, *LORA)
    return out


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, groups: str, advantages: str, model: Path) -> Path:
    out = tmp_path_factory.mktemp("adapter") / "out"
    tiny.grao_json("train", groups, advantages, out, "--model", model, *LORA, "--save-adapter")
    return out


def test_the_merged_model_is_a_plain_model_whose_linear_layers_moved(merged: Path, model: Path) -> None:
    before, after = tensors(model), tensors(merged)
    assert after.keys() == before.keys()
    for name in before:
        is_adapted = name.endswith("_proj.weight")
        assert torch.equal(before[name], after[name]) != is_adapted, name
        if is_adapted:  # an update of rank 4
            assert int(torch.linalg.matrix_rank(after[name].double() - before[name].double(), rtol=1e-4)) <= 4
    assert {path.name for path in merged.iterdir()} == {
        *(path.name for path in model.iterdir()),
        *("manifest.json", "metrics.jsonl"),
    }
    assert json.loads((merged / "manifest.json").read_text())["model"] == model_fingerprint(merged)


def test_the_adapter_on_its_base_computes_what_the_merged_model_does(adapter: Path, merged: Path, model: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(str(model))
    wrapped = peft.PeftModel.from_pretrained(base, str(adapter))
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        logits = wrapped(ids).logits
        torch.testing.assert_close(logits, oracle.load_model(merged)(ids).logits, rtol=1e-4, atol=1e-4)
        assert float((logits - oracle.load_model(model)(ids).logits).abs().max()) > 1e-2


@pytest.mark.slow
def test_groups_sampled_with_the_adapter_name_the_policy_of_its_manifest(
    tmp_path: Path, adapter: Path, model: Path, prompts: str
) -> None:
    names = {"adapter_config.json", "adapter_model.safetensors", "manifest.json", "metrics.jsonl"}
    assert {path.name for path in adapter.iterdir()} == names
    sampling = ["--engine", "transformers", "--samples", 1, "--max-new-tokens", 2]
    tiny.grao_json("generate", prompts, tmp_path / "groups", "--model", model, "--adapter", adapter, *sampling)
    policies = {row["policy"] for row in oracle.table_rows(tmp_path / "groups")}
    assert policies == {json.loads((adapter / "manifest.json").read_text())["model"]}


def test_a_finished_adapter_is_not_trained_again(adapter: Path, groups: str, advantages: str, model: Path) -> None:
    summary = tiny.grao_json("train", groups, advantages, adapter, "--model", model, *LORA, "--save-adapter")
    assert summary["was_complete"] is True


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"r": "4"}, {"lora_alpha": None}, {"peft_type": "LOHA", "r": 4}])
def test_an_adapter_without_rank_or_alpha_is_not_trained_further(
    tmp_path: Path, adapter: Path, groups: str, advantages: str, model: Path, changes: dict[str, object]
) -> None:
    made = tmp_path / "made elsewhere"
    shutil.copytree(adapter, made, ignore=shutil.ignore_patterns("manifest.json", "metrics.jsonl"))
    config = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps(config | changes))
    command = ["train", groups, advantages, tmp_path / "out", "--model", model, "--adapter", made, "--lora-rank", 4]
    result = tiny.grao(*command, "--allow-off-policy")
    assert result.exit_code == 1
    assert f"{made}" in result.stderr.splitlines()[-1]


@pytest.mark.slow
def test_two_ranks_train_the_same_adapter(
    tmp_path: Path, groups: str, advantages: str, model: Path, adapter: Path
) -> None:
    """Also when they are stopped after a step and one goes on; the checkpoint holds the adapter alone."""
    arguments = [groups, advantages, tmp_path / "out", "--model", model, *LORA, "--save-adapter"]
    Training(2, *arguments, "--checkpoint-steps", 1).stop_when(lambda: steps_logged(tmp_path / "out") >= 1)
    [checkpoint] = (path for path in (tmp_path / "out").glob("checkpoints/step-*") if path.is_dir())
    kept = FileSystemReader(checkpoint).read_metadata().state_dict_metadata
    weights = [name for name in kept if name.startswith("model.")]
    assert len(weights) == 2 * 2 * 7  # A and B of the seven linear layers of two blocks
    assert all("lora_" in name for name in weights)
    assert Training(1, *arguments).summary()["resumed_from_step"] >= 1
    found, expected = (
        tensors(tmp_path / "out", "adapter_model.safetensors"),
        tensors(adapter, "adapter_model.safetensors"),
    )
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_two_ranks_merge_what_one_process_merges(
    tmp_path: Path, groups: str, advantages: str, model: Path, merged: Path
) -> None:
    Training(2, groups, advantages, tmp_path / "out", "--model", model, *LORA).summary()
    found, expected = tensors(tmp_path / "out"), tensors(merged)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lora-rank", 4, "--lora-target", "no_such"], "has no layer no_such that LoRA can adapt. Those are"),
        (
            ["--lora-rank", 4, "--lora-target", "input_layernorm"],
            "LoRA can adapt. Those are down_proj, gate_proj, k_proj, ",
        ),
        (["--lora-rank", 4, "--lora-target", "lm_head"], "the head of Qwen2ForCausalLM, which cannot be adapted"),
        (["--lora-rank", 4, "--lora-target", "embed_tokens"], "the embedding of Qwen2ForCausalLM"),
        (["--save-adapter"], "--save-adapter needs an adapter"),
        (["--load-in-4bit"], "--load-in-4bit needs an adapter"),
    ],
)
def test_options_that_cannot_work_are_wrong_usage(
    tmp_path: Path, groups: str, advantages: str, model: Path, arguments: list[object], message: str
) -> None:
    result = tiny.grao("train", groups, advantages, tmp_path / "out", "--model", model, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("Error:") == 1
    assert not (tmp_path / "out").exists()
