"""A full disk: found before the first step, or said in one line, and what was saved stays."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from grao_pipeline.errors import InputError, StageFailure
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.training.checkpoints import export, state, store
from grao_pipeline.training.checkpoints.disk import DiskNeed, check_space, write_errors_as_failure
from grao_pipeline.training.checkpoints.metrics_log import MetricsLog
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.train import train_model
from tests import tiny
from tests.training import families, oracle

Usage = namedtuple("Usage", ["total", "used", "free"])
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def options_of(model: Path, **others: Any) -> TrainOptions:
    return TrainOptions(model=str(model), device="cpu", groups_per_step=4, **others)


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10 * size, 9 * size, size))


@pytest.mark.parametrize(
    ("options", "num_steps", "model", "checkpoint", "peak"),
    [
        # P parameters in float32: a model of 4 P, a checkpoint of 4 P and two moments of 4 P each
        ({"checkpoint_steps": 0}, 100, 4, 12, 4),
        ({"checkpoint_steps": 50}, 50, 4, 12, 4),
        ({"checkpoint_steps": 50}, 60, 4, 12, 16),
        ({"checkpoint_steps": 10}, 60, 4, 12, 24),
        ({"checkpoint_steps": 10, "optimizer": "adamw-8bit"}, 60, 4, 6, 12),
        # four of five checkpoints at once; then two, all that there are, and the model
        ({"checkpoint_steps": 10, "keep_checkpoints": 3}, 60, 4, 12, 48),
        ({"checkpoint_steps": 25, "keep_checkpoints": 3}, 60, 4, 12, 28),
    ],
)
def test_the_need_of_a_training(
    options: dict[str, Any], num_steps: int, model: int, checkpoint: int, peak: int
) -> None:
    policy = Policy(families.make_model("llama"), "rows")
    count = sum(parameter.numel() for parameter in policy.parameters())
    need = DiskNeed.of(policy, TrainOptions(model="", **options), saved_bytes=4, num_steps=num_steps)
    assert need == DiskNeed(model * count, checkpoint * count, peak * count)


def test_too_little_space_is_found_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, advantages: str, model: Path
) -> None:
    out = tmp_path / "out"
    free(monkeypatch, 1 << 10)
    with pytest.raises(InputError, match=r"the disk has 0\.0 MiB free; this training writes up to \d\.\d MiB: a model"):
        train_model(groups, advantages, str(out), options_of(model))
    assert not out.exists()  # nothing stays that would stand in the way of the next try


def test_what_lies_there_of_this_training_counts_as_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 60)
    (tmp_path / "step-1.pt").write_bytes(b"x" * 50)
    check_space(tmp_path, DiskNeed(50, 50, 100))
    with pytest.raises(InputError):
        check_space(tmp_path, DiskNeed(50, 50, 120))


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, advantages: str, model: Path
) -> None:
    """The second of three; the same command then resumes after the first, and ends as if nothing had been."""
    out, options = tmp_path / "out", options_of(model, checkpoint_steps=1)
    train_model(groups, advantages, str(tmp_path / "whole"), options)

    def save(path: Path, *_: Any) -> None:
        if "00000002" in path.name:
            path.write_bytes(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 128 vs 22")
        state.save_file(path, *_)

    monkeypatch.setattr(store, "save_file", save)
    refused = r"Cannot write .*step-00000002\.pt: torch could not write all of it; .* Step 1 is saved\. Free space and"
    with pytest.raises(StageFailure, match=refused):
        train_model(groups, advantages, str(out), options)
    assert [path.name for path in (out / "checkpoints").iterdir()].count("step-00000001.pt") == 1
    assert not list(out.rglob(".*.tmp"))
    monkeypatch.undo()
    progress = RecordedProgress()
    train_model(groups, advantages, str(out), options, progress)
    assert any(note.startswith("resuming after step 1 from ") for note in progress.notes)
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_model_that_does_not_fit_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, advantages: str, model: Path
) -> None:
    out, options = tmp_path / "out", options_of(model, checkpoint_steps=2)
    train_model(groups, advantages, str(tmp_path / "whole"), options)

    def fail(directory: str, _: Any) -> None:
        Path(directory).mkdir()
        (Path(directory) / "model.safetensors").write_bytes(b"half")
        raise FULL

    monkeypatch.setattr(export, "save_weights", fail)
    with pytest.raises(StageFailure, match=r"No space left on device\. Step 3 of 3 is saved\. Free space and run"):
        train_model(groups, advantages, str(out), options)
    assert not list(out.rglob("*.safetensors"))
    monkeypatch.undo()
    progress = RecordedProgress()
    train_model(groups, advantages, str(out), options, progress)
    assert any(note.startswith("resuming after step 3 from ") for note in progress.notes)
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_metric_that_does_not_fit_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, advantages: str, model: Path
) -> None:
    def append(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(MetricsLog, "append", append)
    with pytest.raises(
        StageFailure, match=r"Cannot write .*metrics\.jsonl: No space left on device\. No step is saved"
    ):
        train_model(groups, advantages, str(tmp_path / "out"), options_of(model))


@pytest.mark.parametrize("error", [FULL, SafetensorError("Error while serializing: No space left on device")])
def test_errors_of_the_disk_are_failures(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(StageFailure, match="No space left on device"), write_errors_as_failure(tmp_path, "Free some."):
        raise error


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shape"), write_errors_as_failure(tmp_path, "Free some."):
        raise RuntimeError("shape mismatch")


@pytest.mark.slow
def test_a_dry_run_says_how_much_a_training_writes(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    arguments = ["train", groups, advantages, tmp_path / "out", "--model", model, "--device", "cpu", "--dry-run"]
    summary = tiny.grao_json(*arguments, "--groups-per-step", 4, "--checkpoint-steps", 1)
    stored = sum(parameter.nbytes for parameter in oracle.load_model(model).parameters())
    assert summary["model_gib"] * 2**30 == pytest.approx(stored)
    assert summary["disk_gib"] == pytest.approx(2 * summary["checkpoint_gib"])
