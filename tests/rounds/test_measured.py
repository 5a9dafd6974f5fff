"""Numbers that follow measurements, policies that judge themselves, and log-probs under other models, in rounds."""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from grao_pipeline.errors import UsageError
from grao_pipeline.rounds.run import run_rounds
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.rounds.running import run

SELF = "tests.rounds.rewards:of_policy"


def planned(path: Path) -> dict[str, dict[str, Any]]:
    return {task["name"]: task for task in tiny.grao_json("rounds", "plan", path)["tasks"]}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, model: Path, prompts: str) -> dict[str, Any]:
    """Three rounds: the weight of the KL follows the entropy, that of a reward the mean reward of held-out samples."""
    root = tmp_path_factory.mktemp("measured")
    course = {"schedule": "towards", "metric": "entropy", "target": 1.0, "gain": 0.1, "from": 0.5, "low": 0.0}
    weight = {"schedule": "towards", "metric": "mean_reward", "target": 1.0, "gain": 2.0, "from": 0.5}
    return {
        "output": str(root / "run"),
        "model": str(model),
        "rounds": 3,
        "prompts": {"train": prompts, "eval": prompts},
        "generate": {"engine": "transformers", "samples": 2, "max_new_tokens": 4, "temperature": 1.0},
        "score": [
            {"reward": SELF, "name": "self", "reward_arg": {"model": "${policy}"}},
            {"reward": "length", "reward_arg": ["target=9", "unit=characters"], "weight": weight},
        ],
        "logprobs": {"name": "own", "model": "${policy}"},
        "train": {
            "learning_rate": 1e-3,
            "groups_per_step": 5,
            "objective": "grpo",
            "objective_arg": {"kl": course, "kl_against": "own"},
        },
        "reuse_rounds": 2,
        "evaluate": {"bootstrap_samples": 100},
    }


@pytest.fixture(scope="module")
def finished(config: dict[str, Any]) -> Path:
    """The configuration, run to its end."""
    path = Path(config["output"]).with_name("rounds.yaml")
    path.write_text(yaml.safe_dump(config))
    before = planned(path)
    assert before["round-0/train"]["options"]["objective_arg"] == ["kl=0.5", "kl_against=own"]
    assert {name for name, task in before.items() if name.startswith("round-1/") and task["state"] != "waits"} == set()
    run(path)
    return path


@pytest.mark.slow
def test_numbers_follow_what_was_measured_in_the_rounds_before(finished: Path) -> None:
    tasks = planned(finished)
    output = finished.parent / "run"
    kl, weight = 0.5, 0.5
    for number in range(3):
        used = tasks[f"round-{number}/train"]["options"]["objective_arg"][0]
        assert float(used.removeprefix("kl=")) == pytest.approx(kl, rel=1e-12)
        scores = tasks[f"round-{number}/advantages"]["options"]["scores"]
        assert scores[1]["weight"] == pytest.approx(weight, rel=1e-12)
        steps = [json.loads(line) for line in (output / f"round-{number}/train/metrics.jsonl").read_text().splitlines()]
        kl = max(0.0, kl + 0.1 * (1.0 - fmean(step["entropy"] for step in steps)))
        evaluation = json.loads((output / f"round-{number}/evaluate/metrics.json").read_text())["summary"]
        weight += 2.0 * (1.0 - evaluation["metrics"]["mean_reward"]["value"])
    assert 0.0 <= kl != 0.5
    assert run(finished)["made"] == []


@pytest.mark.slow
def test_the_policy_that_sampled_judges_and_evaluations_have_the_base(finished: Path, model: Path) -> None:
    tasks = planned(finished)
    trained = tasks["round-0/train"]["out"]
    assert tasks["base/evaluate-score"]["options"]["reward_arg"] == [f"model={model}"]
    assert tasks["round-1/score-self"]["options"]["reward_arg"] == [f"model={trained}"]
    assert tasks["round-1/evaluate-score"]["options"]["reward_arg"] == [f"model={model}"]


@pytest.mark.slow
def test_a_training_knows_the_logprobs_of_all_its_groups(finished: Path) -> None:
    """In round 1 those of two rounds, each under the policy that sampled it."""
    tasks = planned(finished)
    expected = [f"own={tasks[f'round-{number}/logprobs-own']['out']}" for number in (1, 0)]
    assert tasks["round-1/train"]["options"]["logprobs"] == expected
    computed_rows = open_table(tasks["round-1/logprobs-own"]["out"], "logprobs").arrow().to_pylist()
    groups = open_table(tasks["round-1/generate"]["out"], "groups").arrow(["completion_logprobs"]).to_pylist()
    for row, group in zip(computed_rows, groups, strict=True):
        for computed, sampled in zip(row["sample_logprobs"], group["completion_logprobs"], strict=True):
            assert computed == pytest.approx(sampled, abs=1e-4)


@pytest.mark.slow
def test_a_metric_that_no_training_has_is_named(finished: Path) -> None:
    text = finished.read_text().replace("metric: entropy", "metric: entropie")
    wrong = finished.with_name("wrong.yaml")
    wrong.write_text(text)
    with pytest.raises(
        UsageError, match=r"train.objective_arg: round-0/train has no metric 'entropie' in its metrics.jsonl"
    ):
        run_rounds(str(wrong))
