"""Fewer bits: frozen weights in 4 (QLoRA, bitsandbytes), an optimizer's moments in 8 (torchao, bitsandbytes)."""

import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit
from safetensors.torch import load_file

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
from tests.tiers import is_installed
from tests.training import oracle
from tests.training.ranks import ENVIRONMENT, Training, steps_logged
from tests.training.steps import relative_distance

QLORA = ["--lora-rank", 4, "--load-in-4bit", "--dtype", "bfloat16"]
ADAMW_8BIT = ["--optimizer", "adamw-8bit"]
STEPS = ["--groups-per-step", 2, "--max-steps", 3, "--learning-rate", "1e-2", "--device", "cpu"]


COMPILER = {name: value for name, value in ENVIRONMENT.items() if name != "TORCH_COMPILE_DISABLE"}
"""torchao's optimizers compile their update, which the suite switches off."""


def without(package: str) -> tuple[list[str], dict[str, str]]:
    """How to start a training as if a package were not installed."""
    start = (
        f"import runpy, sys; sys.modules[{package!r}] = None; del sys.argv[1:3]; "  # what is left are its arguments
        "runpy.run_module('grao_pipeline', run_name='__main__')"
    )
    return [sys.executable, "-c", start], ENVIRONMENT


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if they were not installed."""
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.slow
def test_the_gradient_of_qlora_is_that_of_an_adapter_on_the_rounded_weights(
    groups: str, advantages: str, model: Path
) -> None:
    """Rounded to 4 bits, then a plain model of float32: what is left between the two is bfloat16's rounding."""
    options = TrainOptions(model=str(model), lora_rank=4, lora_alpha=8.0, load_in_4bit=True, dtype="bfloat16")
    ranks = Ranks(0, 1, torch.device("cpu"), is_sharded=False)
    policy, _ = load_policy(locate_model(str(model)), options, ranks)
    trained = {name: p for name, p in policy.model.named_parameters() if p.requires_grad}
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=targets)
    exact, rounded = (peft.get_peft_model(oracle.load_model(model), config) for _ in range(2))
    plain = dict(rounded.named_modules())
    quantized = {name: layer for name, layer in policy.model.named_modules() if isinstance(layer, Linear4bit)}
    assert len(quantized) == 2 * 7  # the linear layers of two blocks
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, layer in quantized.items():
            weight: Any = layer.weight
            plain[name].weight.copy_(dequantize_4bit(weight.data, weight.quant_state))
        for name, parameter in trained.items():  # a fresh adapter's B is zero, and then A has no gradient
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
            for other in (exact, rounded):
                dict(other.named_parameters())[name].copy_(parameter)
    data = TrainingSet(open_table(groups, "groups"), open_table(advantages, "advantages"))
    maker = GradientAccumulator(policy, Grao(options.beta, options.lambda_), make_correction(options), options, ranks)
    maker.add([data[index] for index in range(len(data))], lambda: None)
    rows = [*oracle.table_rows(groups)], [*oracle.table_rows(advantages)]
    distances = []
    for other in (rounded, exact):
        oracle.backward(-oracle.step_terms(other, *rows, options.beta, options.lambda_).total)
        expected = dict(other.named_parameters())
        pairs = [(parameter.grad, expected[name].grad) for name, parameter in trained.items()]
        distances.append(relative_distance(*([g for g in side if g is not None] for side in zip(*pairs, strict=True))))
    assert distances[0] < 0.03
    assert distances[1] > 2 * distances[0]  # of the weights before they were rounded


@pytest.mark.slow
def test_qloras_adapter_is_merged_into_the_weights_that_it_is_for(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    arguments = [groups, advantages]
    tiny.grao_json("train", *arguments, tmp_path / "merged", "--model", model, *QLORA, *STEPS)
    tiny.grao_json("train", *arguments, tmp_path / "adapter", "--model", model, *QLORA, *STEPS, "--save-adapter")
    base = oracle.load_model(model)
    merged = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).merge_and_unload().state_dict()
    before, found = load_file(model / "model.safetensors"), load_file(tmp_path / "merged" / "model.safetensors")
    assert found.keys() == before.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, merged[name], rtol=1e-5, atol=1e-6)
        assert torch.equal(value, before[name]) != name.endswith("_proj.weight"), name


@pytest.mark.slow
@pytest.mark.parametrize("package", ["torchao", "bitsandbytes"])
def test_adamw_in_8_bits_is_near_adamw_and_resumes_exactly(
    tmp_path: Path, groups: str, advantages: str, model: Path, package: str
) -> None:
    pytest.importorskip(package)  # transformers imports torchao wherever it is installed, which takes seconds each time
    arguments = [groups, advantages]
    options = ["--model", model, *STEPS, "--checkpoint-steps", 1]
    tiny.grao_json("train", *arguments, tmp_path / "plain", *options)
    launcher, environment = None, COMPILER if package == "torchao" else ENVIRONMENT
    if package == "bitsandbytes" and is_installed("torchao"):
        launcher, environment = without("torchao")
    more = [*options, "--optimizer", "adamw-8bit"]
    Training(1, *arguments, tmp_path / "whole", *more, launcher=launcher, environment=environment).summary()
    killed = Training(1, *arguments, tmp_path / "killed", *more, launcher=launcher, environment=environment)
    killed.kill_when(lambda: steps_logged(tmp_path / "killed") >= 2)
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    resumed = Training(1, *arguments, tmp_path / "killed", *more, launcher=launcher, environment=environment)
    assert resumed.summary()["resumed_from_step"] >= 1
    before, plain, whole, found = (
        load_file(path / "model.safetensors")
        for path in (model, *(tmp_path / name for name in ("plain", "whole", "killed")))
    )
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    moved, expected = (
        torch.cat([(after[name] - before[name]).flatten() for name in before]) for after in (whole, plain)
    )
    assert 0 < float((moved - expected).norm() / expected.norm()) < 0.06


@pytest.mark.slow
def test_a_killed_qlora_is_resumed_exactly(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    arguments = ["--model", model, *STEPS, *QLORA, "--checkpoint-steps", 1]
    tiny.grao_json("train", groups, advantages, tmp_path / "whole", *arguments)
    killed = tmp_path / "killed"
    Training(1, groups, advantages, killed, *arguments).kill_when(lambda: steps_logged(killed) >= 2)
    assert not (killed / "model.safetensors").exists()
    assert Training(1, groups, advantages, killed, *arguments).summary()["resumed_from_step"] >= 1
    whole, found = (load_file(path / "model.safetensors") for path in (tmp_path / "whole", killed))
    assert all(torch.equal(found[name], whole[name]) for name in whole)


@pytest.mark.slow
def test_what_is_not_installed_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, advantages: str, model: Path
) -> None:
    hide(monkeypatch, "torchao", "bitsandbytes")
    for options, package in {
        ("--optimizer", "adamw-8bit"): "torchao",
        ("--optimizer", "paged-adamw-8bit"): "bitsandbytes",
        tuple(map(str, QLORA)): "bitsandbytes",
    }.items():
        result = tiny.grao("train", groups, advantages, tmp_path / "out", "--model", model, *options)
        assert result.exit_code == 1, result.stderr
        assert f"This needs the package '{package}', which is not installed" in result.stderr
        assert "pip install 'grao-pipeline[quantized]'" in result.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--lora-rank", 4, "--load-in-4bit", "--dtype", "float32"],
            "a 4-bit training computes in bfloat16. Add --dtype bfloat16.",
        ),
        ([*QLORA, "--cpu-offload"], "--load-in-4bit: a 4-bit training runs on one device."),
        (["--optimizer", "paged-adamw-8bit"], "pages between GPU and CPU memory. Without a GPU, use adamw-8bit"),
    ],
)
def test_what_cannot_work_is_wrong_usage(
    tmp_path: Path, groups: str, advantages: str, model: Path, options: list[object], message: str
) -> None:
    arguments = ["--model", model, "--device", "cpu", *options]
    result = tiny.grao("train", groups, advantages, tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()
