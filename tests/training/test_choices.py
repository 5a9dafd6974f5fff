"""What `auto` means where a training starts: the precision, and whether activations are recomputed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from grao_pipeline.errors import StageFailure
from grao_pipeline.models.manifest import read_model_manifest
from grao_pipeline.models.source import locate_model
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.checkpoints.disk import GIB
from grao_pipeline.training.choices import DeviceReport, choose_recomputation, settled
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.data.packing import PackedBatch
from grao_pipeline.training.data.sequences import TrainingGroup
from grao_pipeline.training.gradient import GradientAccumulator
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.model.loading import load_policy
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.make import make_objective
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.planning import identity
from tests import tiny

H100 = DeviceReport("cuda", has_bfloat16=True, free=80 * GIB)
V100 = DeviceReport("cuda", has_bfloat16=False, free=16 * GIB)
CPU = DeviceReport("cpu")


@pytest.mark.parametrize(
    ("given", "device", "dtype"),
    [
        ({}, H100, "bfloat16"),
        ({}, V100, "float32"),
        ({}, CPU, "float32"),
        ({"dtype": "float32"}, H100, "float32"),
        ({"dtype": "bfloat16"}, CPU, "bfloat16"),
        ({"load_in_4bit": True, "lora_rank": 4}, CPU, "bfloat16"),
    ],
)
def test_auto_is_bfloat16_where_the_device_has_it(given: dict[str, Any], device: DeviceReport, dtype: str) -> None:
    options, chosen = settled(TrainOptions(model="m", **given), device)
    assert options.dtype == dtype
    assert set(chosen) == (set() if "dtype" in given else {"dtype"})
    assert all(text.startswith(f"{dtype}: ") for text in chosen.values())


@pytest.fixture
def made(model: Path, groups: str, advantages: str) -> "Callable[..., tuple[Policy, list[TrainingGroup], Any]]":
    """Makes a policy, the groups of its first step, and what the choice is made from."""

    def make(**given: Any) -> tuple[Policy, list[TrainingGroup], Any]:
        options = TrainOptions(model=str(model), device="cpu", **given)
        ranks = Ranks(0, 1, torch.device("cpu"), is_sharded=False)
        data = TrainingSet(open_table(groups), open_table(advantages))
        policy, _ = load_policy(locate_model(str(model)), options, ranks)
        gradient = GradientAccumulator(policy, *make_objective(options, data), options, ranks)
        return policy, [data[index] for index in range(len(data))], (gradient, options, ranks)

    return make


def test_activations_are_recomputed_only_where_they_do_not_fit(made: Any) -> None:
    policy, groups, (gradient, options, ranks) = made()
    state = 4 * 4 * sum(parameter.numel() for parameter in policy.parameters())  # weight, gradient, two moments
    ample, tight = (DeviceReport("cuda", True, free) for free in (GIB, state))
    assert choose_recomputation(policy, groups, gradient, options, ranks, ample)["gradient_checkpointing"].startswith(
        "off: "
    )
    assert not policy.recomputes
    chosen = choose_recomputation(policy, groups, gradient, options, ranks, tight)
    assert chosen["gradient_checkpointing"].startswith("on: without it the training needs about ")
    assert policy.recomputes
    assert choose_recomputation(policy, groups, gradient, options, ranks, CPU) == {}


def test_a_step_that_does_not_fit_at_all_is_recomputed(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice of a later lack of memory no longer names what is on already."""

    def full(self: Policy, batch: PackedBatch) -> torch.Tensor:
        raise torch.OutOfMemoryError

    policy, groups, (gradient, options, ranks) = made()
    monkeypatch.setattr(Policy, "hidden_states", full)
    chosen = choose_recomputation(policy, groups, gradient, options, ranks, DeviceReport("cuda", True, GIB))
    assert chosen == {"gradient_checkpointing": "on: without it the training needs more than there is of 1.0 GiB"}
    assert all(getattr(layer, "gradient_checkpointing", False) for layer in policy.layers())
    with pytest.raises(StageFailure, match=r"lower --tokens-per-batch") as failure:
        gradient.add(groups[:1], lambda: None)
    assert "--gradient-checkpointing" not in str(failure.value)


@pytest.mark.slow
def test_the_estimate_grows_with_the_tokens_of_a_batch_and_not_beyond_the_step(made: Any) -> None:
    """The tiny model's activations: the boundary of what fits lies between the two."""

    def fits(tokens_per_batch: int, free: int) -> bool:
        policy, groups, (gradient, options, ranks) = made(tokens_per_batch=tokens_per_batch)
        choose_recomputation(policy, groups, gradient, options, ranks, DeviceReport("cuda", True, free))
        return not policy.recomputes

    frees = [1 << power for power in range(10, 31)]

    def smallest(tokens_per_batch: int) -> int:
        return next(free for free in frees if fits(tokens_per_batch, free))

    assert smallest(1) <= smallest(1 << 20) == smallest(1 << 24)


def test_what_is_asked_for_is_not_chosen(made: Any) -> None:
    policy, groups, (gradient, options, ranks) = made(gradient_checkpointing=False)
    assert choose_recomputation(policy, groups, gradient, options, ranks, DeviceReport("cuda", True, free=1)) == {}
    assert not policy.recomputes


@pytest.mark.slow
def test_a_recomputed_policy_has_the_gradient_of_a_plain_one(made: Any) -> None:
    gradients = []
    for free in (GIB, 1):
        policy, groups, (gradient, options, ranks) = made()
        choose_recomputation(policy, groups, gradient, options, ranks, DeviceReport("cuda", True, free))
        gradient.add(groups[:3], lambda: None)
        gradients.append([parameter.grad.clone() for parameter in policy.parameters() if parameter.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_what_was_chosen_is_recorded_and_the_identity_is_of_what_was_asked(
    tmp_path: Path, model: Path, groups: str, advantages: str
) -> None:
    """The plan of the rounds, made without the device, names the model that is trained."""
    out = tmp_path / "out"
    summary = tiny.grao_json("train", groups, advantages, out, "--model", model, "--device", "cpu")
    manifest = read_model_manifest(out)
    assert manifest is not None
    assert summary["chosen"]["dtype"].startswith("float32: the device is cpu")
    assert (summary["device"], summary["attention"]) == ("cpu", "split")
    assert manifest.provenance.details["chosen"] == summary["chosen"]
    assert manifest.provenance.options["dtype"] == "auto"
    planned = identity(
        (groups, advantages), TrainOptions(model=str(model), device="cpu"), lambda place: open_table(place).provenance
    )
    assert planned.fingerprint == summary["fingerprint"]
