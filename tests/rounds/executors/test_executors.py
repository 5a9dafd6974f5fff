"""The stages of the loop on a real local Ray, and what a configuration may ask for."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.rounds.running import command
from tests.rounds.test_plan import plan, write_config


def run(config: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(config), capture_output=True, text=True, check=False)


@pytest.mark.ray
def test_ray_runs_the_stages_passes_their_words_on_and_names_the_one_that_fails(
    tmp_path: Path, model: Path, prompts: str
) -> None:
    failing = {"learning_rate": 1e30, "max_grad_norm": 0.0, "groups_per_step": 4, "epochs": 2}
    config = write_config(
        tmp_path, model, prompts, executor="ray", resources={"generate": {"num_cpus": 0.5}}, train=failing
    )
    process = run(config)
    assert process.returncode == 1
    assert "part 3 committed" in process.stderr
    assert "Lower --learning-rate" in process.stderr
    assert "round-0/train failed (exit code 1)" in process.stderr
    assert "Traceback" not in process.stderr
    states = {name: task["state"] for name, task in plan(config).items()}
    assert [name for name, state in states.items() if state == "done"] == [
        "round-0/generate",
        "round-0/score-length",
        "round-0/advantages",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"executor": "slurm"}, "executor: input should be 'resident', 'local' or 'ray'"),
        ({"resources": {"train": {"num_gpus": 1}}}, "only 'executor: ray' reserves"),
        ({"executor": "ray", "resources": {"trian": {}}}, "resources.trian: there is no such stage"),
        ({"executor": "ray", "resources": {"train": {"gpus": 1}}}, "resources.train.gpus: there is no such option"),
        ({"executor": "ray", "resources": {"train": {"num_gpus": -1}}}, "resources.train.num_gpus: input should be"),
        ({"executor": "ray", "resources": {"train": 2}}, "expected e.g. processes: 2"),
        ({"resources": {"advantages": {"processes": 2}}}, "resources.advantages.processes: this stage is one process"),
        ({"resources": {"train": {"processes": 0}}}, "resources.train.processes: expected auto, or a whole number"),
        (
            {"executor": "ray", "resources": {"train": {"num_gpus": 8, "processes": 1}}},
            "resources.train.num_gpus: 8 GPUs would be reserved and 1 used: processes is 1, each with 1",
        ),
        (
            {"executor": "ray", "resources": {"score": {"num_gpus": 1}}},
            "resources.score.num_gpus: this stage, with these options, uses no GPU",
        ),
    ],
)
def test_a_wrong_executor_or_resource_is_refused(
    tmp_path: Path, model: Path, prompts: str, changes: dict[str, Any], message: str
) -> None:
    result = tiny.grao("rounds", "plan", write_config(tmp_path, model, prompts, **changes))
    assert result.exit_code == 2
    assert message in result.stderr
