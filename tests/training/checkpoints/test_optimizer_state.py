"""A training that carries the optimizer on is the second half of one that was not cut."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from grao_pipeline.errors import InputError, MismatchError, UsageError
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.train import train_model
from tests import tiny
from tests.training.ranks import Training

STEP: dict[str, Any] = {"groups_per_step": 10, "learning_rate": 1e-3, "allow_off_policy": True, "device": "cpu"}
LORA: dict[str, Any] = {"lora_rank": 4, "lora_alpha": 8.0, "save_adapter": True}


def train(groups: str, advantages: str, model: Path, out: Path, **options: Any) -> Path:
    train_model(groups, advantages, str(out), TrainOptions(model=str(model), **{**STEP, **options}))
    return out


def assert_alike(found: Path, expected: Path, name: str = "model.safetensors") -> None:
    """But for rounding. Adam's first steps divide a gradient by its own size, so rounding shows in the few weights
    whose gradient is nearly 0; and in the biases of the keys, which softmax does not see.
    """
    weights, others = load_file(found / name), load_file(expected / name)
    assert weights.keys() == others.keys()
    keys = [key for key in weights if not key.endswith("k_proj.bias")]
    differences = torch.cat([(weights[key].float() - others[key].float()).abs().flatten() for key in keys])
    assert float((differences > 2e-6).float().mean()) < 1e-4
    assert float(differences.max()) < 5e-5


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, groups: str, advantages: str, model: Path) -> Path:
    """One step, with the state of its optimizer."""
    return train(groups, advantages, model, tmp_path_factory.mktemp("first") / "out", save_optimizer=True)


@pytest.mark.slow
def test_two_trainings_of_a_step_are_one_of_two_steps(
    tmp_path: Path, groups: str, advantages: str, model: Path, first: Path
) -> None:
    cut = train(groups, advantages, first, tmp_path / "cut", carry_optimizer=True)
    whole = train(groups, advantages, model, tmp_path / "whole", epochs=2)
    assert_alike(cut, whole)
    fresh = train(groups, advantages, first, tmp_path / "fresh")
    with pytest.raises(AssertionError):
        assert_alike(fresh, whole)


@pytest.mark.slow
def test_updates_below_the_precision_of_the_saved_weights_are_carried(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    """bfloat16 has 8 bits: a step of 1e-6 changes no weight of 0.1, and a hundred such steps would change none."""
    half = tmp_path / "half"
    tiny.make_tokenizer(half)
    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(half)
    small = {"learning_rate": 1e-6, "save_dtype": "bfloat16"}
    saved = train(groups, advantages, half, tmp_path / "1", save_optimizer=True, **small)
    cut = train(
        groups, advantages, saved, tmp_path / "2", carry_optimizer=True, save_dtype="float32", learning_rate=1e-6
    )
    whole = train(groups, advantages, half, tmp_path / "whole", epochs=2, save_dtype="float32", learning_rate=1e-6)
    base, trained = load_file(half / "model.safetensors"), load_file(cut / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    assert_alike(cut, whole)
    change = (trained[name] - base[name].float()).abs()
    assert float(change.median()) == pytest.approx(2e-6, rel=0.2)  # Adam's first two steps: about the rate each
    assert float((load_file(saved / "model.safetensors")[name] == base[name]).float().mean()) > 0.9


@pytest.mark.slow
def test_any_number_of_ranks_reads_what_any_number_wrote(
    tmp_path: Path, groups: str, advantages: str, model: Path, first: Path
) -> None:
    def flags(base: Path, *more: object) -> list[object]:
        return [*("--model", base, "--groups-per-step", 10, "--learning-rate", 1e-3, "--allow-off-policy"), *more]

    whole = train(groups, advantages, model, tmp_path / "whole", epochs=2)
    Training(2, groups, advantages, tmp_path / "two", *flags(first, "--carry-optimizer")).summary()
    assert_alike(tmp_path / "two", whole)
    by_two = tmp_path / "by two"
    summary = Training(2, groups, advantages, by_two, *flags(model, "--save-optimizer")).summary()
    assert (summary["ranks"], summary["optimizer_steps"]) == (2, 1)
    assert_alike(train(groups, advantages, by_two, tmp_path / "one", carry_optimizer=True), whole)


@pytest.mark.slow
def test_an_adapter_is_trained_further_with_its_optimizer(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    begun = train(groups, advantages, model, tmp_path / "begun", save_optimizer=True, **LORA)
    carried = {"adapter": str(begun), "carry_optimizer": True, **LORA}
    cut = train(groups, advantages, model, tmp_path / "cut", **carried)
    whole = train(groups, advantages, model, tmp_path / "whole", epochs=2, **LORA)
    assert_alike(cut, whole, "adapter_model.safetensors")
    merged = train(
        groups, advantages, model, tmp_path / "merged", adapter=str(begun), **{**LORA, "save_adapter": False}
    )
    assert (merged / "model.safetensors").is_file()
    for options, message in (
        ({**carried, "lora_rank": 8}, "was made with 4, found 8"),
        ({**carried, "lora_target": ["q_proj"]}, "adapts down_proj, gate_proj, k_proj"),
        ({**carried, "adapter": None}, "a new adapter has no optimizer state"),
    ):
        with pytest.raises(UsageError, match=message):
            train(groups, advantages, model, tmp_path / "refused", **options)


def test_what_cannot_be_carried_is_refused(
    tmp_path: Path, groups: str, advantages: str, model: Path, first: Path
) -> None:
    carry: dict[str, Any] = {"carry_optimizer": True}
    with pytest.raises(UsageError, match="was saved without the state of its optimizer"):
        train(groups, advantages, model, tmp_path / "out", **carry)
    with pytest.raises(
        MismatchError, match="holds the state of the optimizer adamw, and this training's is adamw-8bit"
    ):
        train(groups, advantages, first, tmp_path / "out", optimizer="adamw-8bit", **carry)
    with pytest.raises(ValueError, match="need --save-adapter"):
        TrainOptions(model="m", lora_rank=4, **carry)
    damaged = next(path for path in (first / "optimizer").iterdir() if path.suffix == ".distcp")
    data = damaged.read_bytes()
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    try:
        with pytest.raises(InputError, match=rf"{damaged.name} .*Restore it"):
            train(groups, advantages, first, tmp_path / "out", **carry)
    finally:
        damaged.write_bytes(data)
    assert json.loads((first / "manifest.json").read_text())["files"][f"optimizer/{damaged.name}"]
