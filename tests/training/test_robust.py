"""What goes wrong in a long training: steps that are not numbers, signals, a second process, too little memory."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

from grao_pipeline.arguments import NoArguments
from grao_pipeline.errors import StageFailure
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.training.data.groups import epoch_order
from grao_pipeline.training.objectives.base import FakeObjective, ObjectiveInputs, ObjectiveOutputs, Traits
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.train import train_model
from tests import tiny
from tests.training import oracle
from tests.training.ranks import ENVIRONMENT, Training, metrics, of_40_steps, steps_logged, timeless


class Sometimes(FakeObjective):
    """No number for the groups whose advantage is the mark."""

    traits = Traits(is_linear=True, uses_beta_and_lambda=True)

    def __init__(self, beta: float, lambda_: float, arguments: NoArguments) -> None:
        super().__init__(arguments)
        self._bad = beta

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        made = super().__call__(inputs)
        broken = bool((inputs.group_mean_advantage == self._bad).any())
        return ObjectiveOutputs(made.loss * float("nan"), made.sums) if broken else made


OBJECTIVE = f"{__name__}:Sometimes"
MARK = 0.125


def tables(root: Path, bad: set[int], count: int = 6) -> tuple[str, str, list[str]]:
    """Groups of one sample, those numbered in `bad` with the mark as their advantage; their ids."""
    completions = [[[5 + n, 6 + n, 2]] for n in range(count)]
    return write_tables(root, completions, [[MARK if n in bad else 1.0] for n in range(count)])


def write_tables(
    root: Path, completions: list[list[list[int]]], advantages: list[list[float]]
) -> tuple[str, str, list[str]]:
    """Groups of these completions' token ids, with these advantages; the groups' ids."""
    groups = [tiny.group_row(f"prompt {n}", ["a"] * len(ids), token_ids=ids) for n, ids in enumerate(completions)]
    rows = [
        {"group_id": group["group_id"], "rewards": [1.0] * len(values), "advantages": values}
        | {"reference_advantage": None, "reward_mean": 0.0, "reward_std": 1.0, "token_weights": None}
        for group, values in zip(groups, advantages, strict=True)
    ]
    return (
        tiny.write_table(root / "groups", "groups", groups),
        tiny.write_table(root / "advantages", "advantages", rows),
        [str(group["group_id"]) for group in groups],
    )


def options(model: Path, **more: Any) -> TrainOptions:
    base: dict[str, Any] = {
        "model": str(model),
        "device": "cpu",
        "groups_per_step": 1,
        "learning_rate": 1e-3,
        "beta": MARK,
    }
    return TrainOptions(**(base | {"objective": OBJECTIVE, "allow_off_policy": True} | more))


@pytest.mark.slow
def test_a_step_that_is_no_number_is_skipped_logged_and_leaves_weights_and_optimizer(
    tmp_path: Path, model: Path
) -> None:
    """Six steps of one group; the third's loss is NaN: the rest is plain AdamW without it."""
    order = epoch_order(6, 0, 0)
    groups, advantages, names = tables(tmp_path, {order[2]})
    summary = train_model(groups, advantages, str(tmp_path / "out"), options(model))
    assert (summary.steps, summary.skipped_steps) == (6, 1)
    records = metrics(tmp_path / "out")
    assert [record["step"] for record in records if "skipped" in record] == [3]
    assert records[2]["group_ids"] == [names[order[2]]]
    assert "nan" in records[2]["skipped"]

    trained = oracle.load_model(model)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-3, weight_decay=0.01)
    rows = list(oracle.table_rows(groups))
    for index in order[:2] + order[3:]:
        optimizer.zero_grad()
        row = rows[index]
        oracle.backward(-oracle.likelihood(trained, row["prompt_token_ids"], row["completion_token_ids"][0]))
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
    found = load_file(tmp_path / "out" / "model.safetensors")
    differences = torch.cat([(found[name] - p.detach()).abs().flatten() for name, p in trained.named_parameters()])
    # Where a gradient is nothing but rounding noise, Adam's update is noise, too, of at most the learning rate.
    assert float(differences.max()) < 6e-3
    assert float((differences < 1e-5).float().mean()) > 0.995


@pytest.mark.slow
def test_skipped_steps_in_a_row_stop_the_training(tmp_path: Path, model: Path) -> None:
    order = epoch_order(6, 0, 0)
    groups, advantages, names = tables(tmp_path, {order[1], order[3], order[4]})
    with pytest.raises(StageFailure, match=r"Step 5: .* after 2 skipped steps in a row\. Groups: ") as error:
        train_model(groups, advantages, str(tmp_path / "out"), options(model, max_skipped_steps=2))
    assert names[order[4]] in str(error.value)
    assert len(metrics(tmp_path / "out")) == 5
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.slow
def test_a_training_of_nothing_but_skipped_steps_is_no_training(tmp_path: Path, model: Path) -> None:
    groups, advantages, _ = tables(tmp_path, {0, 1}, count=2)
    with pytest.raises(StageFailure, match="Step 2: "):
        train_model(groups, advantages, str(tmp_path / "out"), options(model))
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.slow
def test_skips_are_counted_over_a_resume(tmp_path: Path, model: Path) -> None:
    order = epoch_order(6, 0, 0)
    groups, advantages, _ = tables(tmp_path, {order[1]})

    def stop(message: str) -> None:
        if message.startswith("step 4/"):
            raise KeyboardInterrupt

    made = options(model, checkpoint_steps=1)
    with pytest.raises(KeyboardInterrupt):
        train_model(groups, advantages, str(tmp_path / "out"), made, RecordedProgress(stop))
    summary = train_model(groups, advantages, str(tmp_path / "out"), made)
    assert (summary.resumed_from_step, summary.steps, summary.skipped_steps) == (3, 6, 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_a_signal_stopped_ends_as_if_undisturbed(
    tmp_path: Path, groups: str, advantages: str, dropout_model: Path, undisturbed: Path, number: signal.Signals
) -> None:
    """Checkpoints only every 50 steps: the one at the signal is extra. Dropout draws the same numbers again."""
    out = tmp_path / "out"
    arguments = [groups, advantages, out, *of_40_steps(dropout_model)]
    stopped = Training(1, *arguments).stop_when(lambda: steps_logged(out) >= 5, number)
    assert stopped.returncode == 1
    steps = len(metrics(out))
    assert 5 <= steps < 40
    message = f"Error: Stopped by {number.name}. Step {steps} of 40 is saved. Run the same command to resume."
    assert message in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert Training(1, *arguments).summary()["resumed_from_step"] == steps
    for name in ("model.safetensors", "config.json"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert timeless(metrics(out)) == timeless(metrics(undisturbed))
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in undisturbed.iterdir())


@pytest.mark.slow
def test_a_second_training_into_the_same_directory_is_refused_while_the_first_runs(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    arguments = [groups, advantages, tmp_path / "out", "--model", model]
    refused: list[Any] = []

    def meanwhile(message: str) -> None:
        if message.startswith("step 1/"):
            before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
            refused.append(Training(1, *arguments).end())
            assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before

    made = TrainOptions(model=str(model), device="cpu")
    train_model(groups, advantages, str(tmp_path / "out"), made, RecordedProgress(meanwhile))
    [second] = refused
    assert second.returncode == 1
    assert "is being trained into by process " in second.stderr
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["summary"]["steps"] == 1
    assert not list((tmp_path / "out").glob(".*"))


BATCH = "Out of memory on a micro-batch of 4000 sequences (60,003 tokens) of groups "
WAYS = ("lower --tokens-per-batch (100000)", "--gradient-checkpointing", "--dtype bfloat16", "--lora-rank")
READING = "Out of memory while the group in row 0 of part 0 of "


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "messages"),
    [(1, (READING, "lower --groups-per-step")), (128, (BATCH, *WAYS))],
    ids=["for the token ids", "for the tensors"],
)
def test_too_little_memory_names_the_groups_and_what_to_lower(
    tmp_path: Path, model: Path, room: int, messages: tuple[str, ...]
) -> None:
    """A process that may take this many MiB from the first step on.

    Where the tensors of the group are small, memory may end within a library that then crashes: they take 15 MiB each.
    """
    completions = [[5 + (row + column) % 50 for column in range(15)] for row in range(4000)]
    groups, advantages, [group_id] = write_tables(tmp_path, [completions], [[1.0] * 4000])
    code = """
import resource, sys
from pathlib import Path
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.train import train_model
groups, advantages, out, model, room = sys.argv[1:]

def limit(message):
    if message.startswith("attention"):
        most = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (int(room) << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

options = TrainOptions(model=model, device="cpu", tokens_per_batch=100_000, allow_off_policy=True)
train_model(groups, advantages, out, options, RecordedProgress(limit))
"""
    command = [sys.executable, "-c", code, groups, advantages, str(tmp_path / "out"), str(model), str(room)]
    ended = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert ended.returncode == 1, ended.stderr
    assert (group_id if room > 1 else groups) in ended.stderr
    for message in messages:
        assert message in ended.stderr


def take_all_memory(*_: object) -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


class Greedy(FakeObjective):
    """Wants more memory than there is."""

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        take_all_memory()
        return super().__call__(inputs)


@pytest.mark.slow
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_dry_run_that_does_not_fit_says_so_like_the_training(
    tmp_path: Path, groups: str, advantages: str, model: Path, dry: list[str]
) -> None:
    more = ["--model", model, "--device", "cpu", "--tokens-per-batch", 100, "--objective", f"{__name__}:Greedy"]
    refused = tiny.grao("train", groups, advantages, tmp_path / "out", *more, *dry)
    assert refused.exit_code == 1
    assert "Out of memory on a micro-batch of" in refused.output
    assert sum(row["group_id"] in refused.output for row in oracle.table_rows(groups)) == 1
    assert "lower --tokens-per-batch (100)" in refused.output


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_too_little_memory_for_the_weights_says_what_to_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, advantages: str, model: Path, dry: list[str]
) -> None:
    monkeypatch.setattr(torch.nn.Module, "to", take_all_memory)  # as it ends on a GPU that is too small
    refused = tiny.grao("train", groups, advantages, tmp_path / "out", "--model", model, "--device", "cpu", *dry)
    assert refused.exit_code == 1
    assert f"Out of memory while the weights of {model} were loaded to cpu" in refused.output
    assert "--load-in-4bit with --lora-rank 16" in refused.output


@pytest.mark.slow
def test_too_little_memory_for_the_optimizers_moments_says_what_to_use(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    hook = register_optimizer_step_pre_hook(take_all_memory)
    try:
        refused = tiny.grao("train", groups, advantages, tmp_path / "out", "--model", model, "--device", "cpu")
    finally:
        hook.remove()
    assert refused.exit_code == 1
    assert "Out of memory in the optimizer's update" in refused.output
    assert "--optimizer adamw-8bit" in refused.output
