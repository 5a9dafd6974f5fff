"""A killed training goes on exactly where it stopped: SIGKILL, real processes, dropout, bytes compared."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from grao_pipeline.progress import RecordedProgress
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.train import train_model
from tests import tiny
from tests.training.ranks import ENVIRONMENT, Training, metrics, of_40_steps, timeless


def options(model: Path, groups_per_step: int, epochs: int) -> list[str]:
    sizes = ["--groups-per-step", str(groups_per_step), "--epochs", str(epochs), "--learning-rate", "1e-3"]
    return ["--model", str(model), "--allow-off-policy", "--device", "cpu", "--checkpoint-steps", "1", *sizes]


def assert_same_training(out: Path, undisturbed: Path) -> None:
    """The same weights, metrics and files, and no file more."""
    names = sorted(str(path.relative_to(undisturbed)) for path in undisturbed.rglob("*"))
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == names
    assert not any("checkpoint" in name or "tmp" in name for name in names)
    found, expected = load_file(out / "model.safetensors"), load_file(undisturbed / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert timeless(metrics(out)) == timeless(metrics(undisturbed))
    manifests = [json.loads((each / "manifest.json").read_text()) for each in (out, undisturbed)]
    for name in ("fingerprint", "model", "files"):
        assert manifests[0][name] == manifests[1][name]
    for name in ("steps", "tokens", "groups_trained", "final_objective"):
        assert manifests[0]["summary"][name] == manifests[1]["summary"][name]


@pytest.mark.slow
def test_a_training_killed_again_and_again_ends_as_if_undisturbed(
    tmp_path: Path, groups: str, advantages: str, dropout_model: Path, undisturbed: Path
) -> None:
    """Killed before the first checkpoint, between two, while one is written, and while the model is written."""
    out = tmp_path / "out"
    arguments = [groups, advantages, out, *of_40_steps(dropout_model), "--checkpoint-steps", 1]

    def step() -> int:
        return max((int(path.stem[5:]) for path in out.glob("checkpoints/step-*.pt")), default=0)

    def in_writing(pattern: str) -> bool:
        return any(out.glob(pattern))

    moments: list[Callable[[], bool]] = [
        lambda: in_writing("checkpoints/training.json"),
        lambda: step() >= 9,
        lambda: step() >= 20 and in_writing("checkpoints/.step-*.tmp"),
        lambda: in_writing(".model.*.tmp") or in_writing("config.json"),
    ]
    heard = [Training(1, *arguments).kill_when(moment).stderr for moment in moments]
    last = Training(1, *arguments)
    last.summary()
    resumed = [int(text.partition("resuming after step ")[2].split(" ")[0] or 0) for text in heard]
    assert resumed == sorted(resumed)
    assert resumed[0] == 0
    assert resumed[2] >= 9
    assert resumed[3] >= 20
    # The last but one got as far as writing the model; on a busy machine it may even have ended.
    assert "resuming after step 40 " in last.stderr or "nothing to do" in last.stderr
    assert_same_training(out, undisturbed)


@pytest.mark.slow
def test_killed_before_any_of_its_file_operations_a_training_ends_as_if_undisturbed(
    tmp_path: Path, groups: str, advantages: str, dropout_model: Path
) -> None:
    arguments = [groups, advantages, *options(dropout_model, 5, 1)]  # two steps
    command = [sys.executable, "-m", "tests.training.crash_points", str(tmp_path), *arguments]
    process = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert process.returncode == 0, process.stderr
    cases = [json.loads(line) for line in process.stdout.splitlines()]
    operations = " ".join(case["operation"] for case in cases)
    for part in ("training.json", "step-00000001.pt", "os.remove checkpoints/", ".model.", "manifest"):
        assert part in operations
    for case in cases:
        assert case["killed"] == -signal.SIGKILL, case
        assert case["again"] == 0, case
        assert_same_training(tmp_path / str(case["number"]), tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_steps", ["0", "1", "2"])
def test_checkpoints_do_not_change_the_result(
    tmp_path: Path, groups: str, advantages: str, dropout_model: Path, checkpoint_steps: str
) -> None:
    for name, steps in (("a", "50"), ("b", checkpoint_steps)):
        arguments = options(dropout_model, 2, 1)
        arguments[arguments.index("--checkpoint-steps") + 1] = steps
        tiny.grao_json("train", groups, advantages, tmp_path / name, *arguments)
    assert_same_training(tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_at_most_one_checkpoint_and_nothing_half_written_is_kept(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    """However often a training is killed while it writes, its disk use does not grow."""
    seen: list[list[str]] = []

    def look(message: str) -> None:
        seen.append(sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir()))
        if message.startswith("step 4/"):
            raise InterruptedError

    made = TrainOptions(model=str(model), device="cpu", groups_per_step=1, checkpoint_steps=1)
    with pytest.raises(InterruptedError):
        train_model(groups, advantages, str(tmp_path / "out"), made, RecordedProgress(look))
    # Heard before the first step, when the attention is chosen, and after each step, before its checkpoint.
    kept = [[f"step-{step:08d}.json", f"step-{step:08d}.pt"] for step in (1, 2, 3)]
    assert seen == [["training.json"], ["training.json"], *[[*names, "training.json"] for names in kept]]
    (tmp_path / "out" / "checkpoints" / ".step-00000004.pt.99.tmp").write_bytes(b"half")
    seen.clear()
    with pytest.raises(InterruptedError):
        train_model(groups, advantages, str(tmp_path / "out"), made, RecordedProgress(look))
    assert seen == [[*kept[-1], "training.json"]] * 3  # "resuming …", "attention …" and step 4
