"""Stages on a real local Ray cluster: the bytes of one process; a training over several of its machines."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file

from grao_pipeline.advantages.compute import compute_advantages
from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.processes import StopSignals
from grao_pipeline.rounds.executors.base import StageResources
from grao_pipeline.rounds.executors.ray import RayCommands
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.score import score_groups
from tests import tiny

pytestmark = pytest.mark.ray
SCORE: dict[str, Any] = {"reward": "length", "reward_arg": ["target=12", "unit=characters"]}


@pytest.fixture(scope="module")
def many_groups(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [tiny.group_row(str(number), ["a", "an answer", "b" * number]) for number in range(12)]
    return tiny.write_table(tmp_path_factory.mktemp("many") / "groups", "groups", rows, 2)


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_scores_and_advantages_are_those_of_this_machine(ray_cluster: Any, many_groups: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    summaries = []
    executors: tuple[tuple[Path, Literal["local", "ray"]], ...] = (here, "local"), (there, "ray")
    for place, executor in executors:
        score_options = ScoreOptions(**SCORE, executor=executor, actors=3 if executor == "ray" else 1)
        scored = score_groups(many_groups, str(place / "scores"), score_options)
        options = AdvantagesOptions(scores=[WeightedScores(url=str(place / "scores"))], executor=executor)
        summaries.append((scored, compute_advantages(many_groups, str(place / "advantages"), options)))
    for table in ("scores", "advantages"):
        assert bytes_of(here / table) == bytes_of(there / table)
    (scored_here, computed_here), (scored_there, computed_there) = summaries
    assert computed_there == computed_here
    assert scored_there.parts_made == 6
    assert scored_there.mean_reward == pytest.approx(scored_here.mean_reward, rel=1e-6)  # of the stored float32
    assert {path.name for path in there.iterdir()} == {"scores", "advantages"}, "nothing is left behind"


def test_a_process_that_fails_fails_the_stage(
    ray_cluster: Any, many_groups: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.py").write_text("def reward(completions):\n    raise ValueError('no idea')\n")
    options = ScoreOptions(reward=f"{tmp_path}/wrong.py:reward", executor="ray", actors=2)
    with pytest.raises(StageFailure, match=r"on the Ray cluster failed \(exit code 1\); what it printed is above\."):
        score_groups(many_groups, str(tmp_path / "scores"), options)
    assert "no idea" in capfd.readouterr().err


def test_processes_are_of_this_machine(ray_cluster: Any, many_groups: str, tmp_path: Path) -> None:
    options = ScoreOptions(**SCORE, executor="ray", processes=2)
    with pytest.raises(UsageError, match="--executor ray has --actors"):
        score_groups(many_groups, str(tmp_path / "scores"), options)


def test_a_training_meets_on_the_machines_of_the_cluster(
    ray_cluster: Any, tmp_path: Path, model: Path, groups: str, advantages: str
) -> None:
    more = ["--model", str(model), "--device", "cpu", "--groups-per-step", "4", "--learning-rate", "1e-3", "--json"]
    alone = tiny.grao_json("train", groups, advantages, tmp_path / "alone", *more[:-1])
    with StopSignals() as signals:
        commands = RayCommands()
        arguments = ["train", groups, advantages, str(tmp_path / "out"), *more]
        result = commands.run(arguments, StageResources.model_validate({"nodes": 2, "num_cpus": 0.5}), signals)
        commands.close()
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert (summary["ranks"], summary["fingerprint"]) == (2, alone["fingerprint"])
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", "out"))
    assert all(torch.allclose(two[name], one[name], rtol=1e-5, atol=1e-5) for name in one)
