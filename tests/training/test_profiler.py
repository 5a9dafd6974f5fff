"""What a training says of its cost: costs counted by hand, a dry run that writes nothing, a trace."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from grao_pipeline.training.data.packing import pack
from grao_pipeline.training.model.flops import FlopCounter, StepCost, cost_of, measure_peak
from grao_pipeline.training.optimizer import set_learning_rate
from tests import tiny
from tests.training import oracle
from tests.training.steps import sequence


def test_work_is_what_the_layout_says() -> None:
    """A prompt of 3 with continuations of 2 and 1: (query, key) pairs 6 within the prompt, then 2·3 + 3 and 3 + 1."""
    batch = pack([sequence([1, 2, 3], [4, 5]), sequence([1, 2, 3], [6])])
    assert cost_of(batch, in_rows=False) == StepCost(tokens=9, processed=6, padding=0, predicted=3, pairs=6 + 9 + 4)
    # As rows: two of five tokens, one of them padding; the prompt attends to itself twice.
    assert cost_of(batch, in_rows=True) == StepCost(tokens=9, processed=10, padding=1, predicted=3, pairs=12 + 9 + 4)
    assert StepCost(1, 2, 3, 4, 5) + StepCost(1, 1, 1, 1, 1) == StepCost(2, 3, 4, 5, 6)


def test_floating_point_operations_are_those_that_torch_counts(model: Path) -> None:
    """Of a plain row with all its logits, whose attention computes every pair, masked ones too."""
    plain = oracle.load_model(model)
    plain.set_attn_implementation("eager")
    length = 24
    with FlopCounterMode(display=False) as counted:
        oracle.backward(plain(torch.arange(length)[None]).logits.sum())
    cost = StepCost(processed=length, predicted=length, pairs=length**2)
    assert FlopCounter.of(plain, has_adapter=False).flops(cost) == counted.get_total_flops()


def test_the_peak_is_that_of_some_machine() -> None:
    assert 1e7 < measure_peak(torch.device("cpu"), torch.float32) < 1e15


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["split", "rows"])
def test_a_training_reports_speed_padding_and_utilization(
    tmp_path: Path, groups: str, advantages: str, model: Path, attention: str
) -> None:
    arguments = ["--model", model, "--device", "cpu", "--attention", attention]
    summary = tiny.grao_json("train", groups, advantages, tmp_path / "out", *arguments)
    assert summary["tokens_per_second"] == pytest.approx(summary["tokens"] / summary["seconds"])
    assert 0 < summary["flops_utilization"] < 1.5  # of a short measurement, on a busy machine
    lengths = []
    for row in oracle.table_rows(groups):
        made = [*row["completion_token_ids"], *([row["reference_token_ids"]] if row["reference"] else [])]
        lengths += [len(row["prompt_token_ids"]) + len(ids) for ids in made]
    # All in one micro-batch: as rows, each is as long as the longest.
    padded = 1 - sum(lengths) / (len(lengths) * max(lengths))
    assert summary["padding_share"] == pytest.approx(padded if attention == "rows" else 0.0)


@pytest.mark.slow
def test_a_dry_run_counts_times_and_writes_nothing(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--model", model, "--device", "cpu", "--groups-per-step", 4, "--epochs", 2]
    summary = tiny.grao_json("train", groups, advantages, out, *arguments, "--dry-run")
    assert not out.exists()
    trained = tiny.grao_json("train", groups, advantages, out, *arguments)
    assert (summary["steps"], summary["groups"]) == (trained["steps"], 20)
    assert summary["unshared_tokens"] == trained["tokens"]
    shared = 0
    for row in oracle.table_rows(groups):
        made = [*row["completion_token_ids"], *([row["reference_token_ids"]] if row["reference"] else [])]
        shared += len(row["prompt_token_ids"]) + sum(map(len, made))
    assert summary["tokens"] == 2 * shared
    parameters = sum(parameter.numel() for parameter in oracle.load_model(model).parameters())
    assert summary["parameters"] == summary["trained_parameters"] == parameters
    assert summary["weights_gib"] == summary["gradients_gib"] == pytest.approx(4 * parameters / 2**30)
    assert summary["optimizer_gib"] == pytest.approx(8 * parameters / 2**30)
    parts = ("weights_gib", "gradients_gib", "optimizer_gib", "activations_gib")
    assert summary["memory_gib"] == pytest.approx(sum(summary[name] for name in parts))
    assert summary["total_seconds"] == pytest.approx(summary["seconds_per_step"] * 6)
    assert summary["total_seconds"] > 0


@pytest.mark.slow
def test_a_dry_run_measures_what_recomputation_saves(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    arguments = ["--model", model, "--device", "cpu", "--dry-run"]
    kept = tiny.grao_json("train", groups, advantages, tmp_path / "out", *arguments)
    less = tiny.grao_json("train", groups, advantages, tmp_path / "out", *arguments, "--gradient-checkpointing")
    assert 0 < less["activations_gib"] < 0.7 * kept["activations_gib"]
    # A hidden state of 64 float32 for each token, at the least, of each of two layers.
    assert less["activations_gib"] * 2**30 > kept["largest_micro_batch"] * 64 * 4 * 2


@pytest.mark.slow
def test_a_dry_run_of_an_adapter_counts_what_it_trains(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    arguments = ["--model", model, "--device", "cpu", "--dry-run", "--lora-rank", 2, "--lora-target", "q_proj"]
    summary = tiny.grao_json("train", groups, advantages, tmp_path / "out", *arguments)
    assert summary["trained_parameters"] == 2 * 2 * (64 + 64)  # A and B of two layers
    assert summary["optimizer_gib"] == pytest.approx(8 * 512 / 2**30)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 5])
def test_a_trace_is_written_beside_the_model(
    tmp_path: Path, groups: str, advantages: str, model: Path, steps: int
) -> None:
    arguments = ["--model", model, "--device", "cpu", "--groups-per-step", 2, "--max-steps", steps, "--profile"]
    tiny.grao_json("train", groups, advantages, tmp_path / "out", *arguments)
    events = json.loads((tmp_path / "out" / "profile" / "trace.json").read_text())["traceEvents"]
    assert any("backward" in str(event.get("name")).lower() for event in events)


def test_a_learning_rate_in_a_tensor_is_set_in_place() -> None:
    """torchao's optimizers compile their update around that tensor and refuse another object."""
    rate = torch.tensor(1e-3)
    weight = torch.nn.Parameter(torch.ones(2))
    other = torch.nn.Parameter(torch.ones(1))
    groups: list[dict[str, Any]] = [{"params": [weight], "lr": rate}, {"params": [other]}]
    optimizer = torch.optim.SGD(groups)
    set_learning_rate(optimizer, 0.5)
    assert optimizer.param_groups[0]["lr"] is rate
    assert [float(group["lr"]) for group in optimizer.param_groups] == [0.5, 0.5]
