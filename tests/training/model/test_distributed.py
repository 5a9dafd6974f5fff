"""Several ranks under torchrun (FSDP2, gloo): the training of one process, spread."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from grao_pipeline.free_port import free_port
from grao_pipeline.training.data.balance import balance
from tests import tiny
from tests.training.ranks import TIMINGS, TORCHRUN, Training, metrics, steps_logged

LEARNING_RATE = 1e-4


def options(model: Path, *more: object) -> list[object]:
    sizes = ["--groups-per-step", 4, "--epochs", 2, "--learning-rate", LEARNING_RATE, "--tokens-per-batch", 150]
    return ["--model", model, *sizes, "--checkpoint-steps", 1, *more]


def assert_same_training(out: Path, expected: Path) -> None:
    """The same metrics, files and weights, but for rounding.

    A bias of the keys has no gradient but rounding noise, which Adam divides by its own size: up to the learning rate.
    """
    names = sorted(str(path.relative_to(expected)) for path in expected.rglob("*"))
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == names
    for record, other in zip(metrics(out), metrics(expected), strict=True):
        assert record.keys() == other.keys()
        for name in record.keys() - TIMINGS - {"origins"}:
            assert record[name] == pytest.approx(other[name], rel=1e-5, abs=1e-5), name
        for origin, its in zip(record["origins"], other["origins"], strict=True):
            assert origin == pytest.approx(its, rel=1e-5, abs=1e-5)
    found, weights = load_file(out / "model.safetensors"), load_file(expected / "model.safetensors")
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        limit = 2 * LEARNING_RATE if name.endswith("k_proj.bias") else 1e-5
        assert float((found[name] - weight).abs().max()) < limit, name


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, groups: str, advantages: str, model: Path) -> Path:
    """The training of one process: ten groups, six steps."""
    out = tmp_path_factory.mktemp("alone") / "out"
    Training(1, groups, advantages, out, *options(model)).summary()
    return out


@pytest.mark.slow
def test_two_ranks_train_what_one_process_trains(
    tmp_path: Path, groups: str, advantages: str, model: Path, alone: Path
) -> None:
    """Micro-batches of 150 tokens, so that the ranks have different numbers of them."""
    out = tmp_path / "out"
    summary = Training(2, groups, advantages, out, *options(model), launcher=TORCHRUN).summary()
    assert summary["ranks"] == 2
    assert_same_training(out, alone)
    of_one, of_two = (json.loads((each / "manifest.json").read_text()) for each in (alone, out))
    assert of_two["fingerprint"] == of_one["fingerprint"]
    for name in ("steps", "tokens", "groups", "groups_trained", "skipped_steps"):
        assert of_two["summary"][name] == of_one["summary"][name]
    [origin], [expected] = of_two["summary"]["origins"], of_one["summary"]["origins"]
    assert origin.keys() == expected.keys()
    for name, value in origin.items():
        assert value == (expected[name] if isinstance(value, str) else pytest.approx(expected[name], abs=1e-5)), name
    assert origin["samples"] == 40


@pytest.mark.slow
def test_a_rank_without_a_group_takes_part(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    """One group a step: the second rank has none, while the first cuts its own into a sequence at a time."""
    more = ["--groups-per-step", 1, "--tokens-per-batch", 1, "--max-steps", 3, "--gradient-checkpointing"]
    Training(1, groups, advantages, tmp_path / "one", *options(model, *more)).summary()
    Training(2, groups, advantages, tmp_path / "two", *options(model, *more, "--profile")).summary()
    traces = tmp_path / "two" / "profile"
    assert {path.name for path in traces.iterdir()} == {"trace-0.json", "trace-1.json"}
    shutil.rmtree(traces)
    assert_same_training(tmp_path / "two", tmp_path / "one")


def checkpoints(out: Path) -> list[Path]:
    """Without their records."""
    return [path for path in out.glob("checkpoints/step-*") if path.suffix != ".json"]


def stop_after_two_steps(ranks: int, groups: str, advantages: str, out: Path, model: Path) -> Path:
    """The checkpoint of a training that was stopped in its third step or later."""
    stopped = Training(ranks, groups, advantages, out, *options(model)).stop_when(lambda: steps_logged(out) >= 2)
    assert stopped.returncode != 0
    assert "Stopped by SIGTERM" in stopped.stderr
    [checkpoint] = checkpoints(out)
    return checkpoint


@pytest.mark.slow
def test_one_rank_goes_on_where_two_were_stopped_unless_their_checkpoint_is_damaged(
    tmp_path: Path, groups: str, advantages: str, model: Path, alone: Path
) -> None:
    out, damaged = tmp_path / "out", tmp_path / "damaged"
    checkpoint = stop_after_two_steps(2, groups, advantages, out, model)
    shutil.copytree(out, damaged)
    summary = Training(1, groups, advantages, out, *options(model)).summary()
    assert summary["resumed_from_step"] == int(checkpoint.name[5:])
    assert_same_training(out, alone)

    [checkpoint] = checkpoints(damaged)
    shard = max(checkpoint.glob("*.distcp"), key=lambda path: path.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:2000])
    refused = Training(1, groups, advantages, damaged, *options(model)).end()
    assert refused.returncode == 1
    assert f"{shard} is damaged: it has 2000 bytes" in refused.stderr


@pytest.mark.slow
def test_two_ranks_go_on_where_one_was_stopped(
    tmp_path: Path, groups: str, advantages: str, model: Path, alone: Path
) -> None:
    out = tmp_path / "out"
    checkpoint = stop_after_two_steps(1, groups, advantages, out, model)
    summary = Training(2, groups, advantages, out, *options(model)).summary()
    assert summary["resumed_from_step"] == int(checkpoint.stem[5:])
    assert_same_training(out, alone)


@pytest.mark.slow
def test_ranks_killed_while_they_write_a_checkpoint_go_on_from_the_one_before(
    tmp_path: Path, groups: str, advantages: str, model: Path, alone: Path
) -> None:
    out = tmp_path / "out"

    def writes_the_third() -> bool:
        return any(out.glob("checkpoints/.step-0000000[3-5].tmp"))

    killed = Training(2, groups, advantages, out, *options(model)).kill_when(writes_the_third)
    assert killed.returncode == -signal.SIGKILL
    summary = Training(2, groups, advantages, out, *options(model)).summary()
    assert 2 <= summary["resumed_from_step"] <= 5
    assert_same_training(out, alone)


@pytest.mark.slow
def test_offloaded_weights_train_alike(tmp_path: Path, groups: str, advantages: str, model: Path, alone: Path) -> None:
    Training(1, groups, advantages, tmp_path / "out", *options(model, "--cpu-offload")).summary()
    assert_same_training(tmp_path / "out", alone)


@pytest.mark.slow
def test_offloading_shares_the_process_group_of_another_use(
    tmp_path: Path, groups: str, advantages: str, model: Path, alone: Path
) -> None:
    """As where vLLM computes in this process, or a notebook has used accelerate; it finds its group as it was."""
    dist.init_process_group("gloo", store=torch._C._distributed_c10d.HashStore(), rank=0, world_size=1)
    try:
        tiny.grao_json("train", groups, advantages, tmp_path / "out", *options(model, "--cpu-offload"))
        assert dist.get_world_size() == 1
        dist.barrier()
    finally:
        dist.destroy_process_group()
    assert_same_training(tmp_path / "out", alone)


@pytest.mark.slow
def test_two_machines_with_all_weights_each_train_alike(
    tmp_path: Path, groups: str, advantages: str, model: Path, alone: Path
) -> None:
    """Two commands of one rank each, as on two machines; both print the summary of the whole training."""
    meeting = ["--nodes", "2", "--rendezvous", f"localhost:{free_port()}"]
    arguments = [groups, advantages, tmp_path / "out", *options(model, "--shard", "hybrid"), *meeting]
    both = [Training(1, *arguments) for _ in range(2)]
    assert [each.summary()["ranks"] for each in both] == [2, 2]
    assert_same_training(tmp_path / "out", alone)


@pytest.mark.slow
def test_a_mistake_is_said_once(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    refused = Training(2, groups, advantages, tmp_path / "out", *options(model), launcher=TORCHRUN).end()
    assert refused.returncode != 0
    assert refused.stderr.count("already holds config.json") == 1
    assert "stages/train.py" not in refused.stderr  # no traceback of ours
    assert "grao_pipeline/" not in refused.stderr


@given(st.lists(st.integers(1, 1000), max_size=30), st.integers(1, 6))
def test_groups_are_dealt_out_once_and_evenly(sizes: list[int], ranks: int) -> None:
    shares = balance(sizes, ranks)
    assert sorted(index for share in shares for index in share) == list(range(len(sizes)))
    loads = [sum(sizes[index] for index in share) for share in shares]
    # Whoever has most was least loaded when its last, smallest one came.
    assert max(loads) - min(loads) <= max(sizes, default=0)


def test_the_largest_goes_first_and_each_to_the_least_loaded() -> None:
    # 9 → rank 0; 7 → 1; 6 → 1 (7 < 9): 13; 5 → 0: 14; 2 → 1 (13 < 14): 15.
    assert balance([5, 9, 2, 7, 6], 2) == [[0, 1], [2, 3, 4]]
