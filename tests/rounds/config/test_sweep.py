"""Sweeps, shared stores, replay, curriculum and pool: what is made, how often, and of what."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.options import YamlSection
from grao_pipeline.pipeline import stage_named
from grao_pipeline.progress import SILENT
from grao_pipeline.rounds.config.run_plan import Settings
from grao_pipeline.rounds.receipts import Receipts
from grao_pipeline.rounds.results import table
from grao_pipeline.rounds.tasks import Task, Walk
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.rounds.running import run

Config = dict[str, Any]


@pytest.fixture
def config(tmp_path: Path, model: Path, prompts: str) -> Config:
    """One round without evaluation, as small as can be."""
    return {
        "output": str(tmp_path / "run"),
        "store": str(tmp_path / "store"),
        "model": str(model),
        "prompts": {"train": prompts},
        "generate": {"engine": "transformers", "samples": 4, "max_new_tokens": 6, "temperature": 1.0},
        "score": [{"reward": "length", "reward_arg": ["target=12", "unit=characters"]}],
        "train": {"learning_rate": 1e-3, "groups_per_step": 10},
    }


def write(directory: Path, config: Config) -> Path:
    path = directory / "rounds.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def to_do(path: Path) -> list[str]:
    """Tasks that `grao rounds plan` says would run."""
    return [task["name"] for task in tiny.grao_json("rounds", "plan", path)["tasks"] if task["state"] != "done"]


def stages(names: Sequence[str]) -> list[str]:
    """The stages of tasks, in order."""
    return [name.rpartition("/")[2] for name in names]


def test_a_plan_counts_what_variants_share_once_although_nothing_is_made_yet(config: Config, tmp_path: Path) -> None:
    config["sweep"] = {"train.beta": [0.25, 0.5, 1.0], "train.lambda": [0.3, 0.6, 0.9]}
    names = to_do(write(tmp_path, config))
    assert names[:4] == [
        f"beta=0.25,lambda=0.3/round-0/{s}" for s in ("generate", "score-length", "advantages", "train")
    ]
    assert stages(names[4:]) == ["train"] * 8


def test_variants_that_differ_in_estimator_share_samples_and_scores(config: Config, tmp_path: Path) -> None:
    config["sweep"] = {"advantages.estimator": ["grao", "rloo"], "train.beta": [0.5, 1.0]}
    names = stages(to_do(write(tmp_path, config)))
    assert {name: names.count(name) for name in names} == {
        "generate": 1,
        "score-length": 1,
        "advantages": 2,
        "train": 4,
    }


@pytest.mark.slow
def test_a_sweep_makes_shared_tasks_once_and_other_configurations_find_them(config: Config, tmp_path: Path) -> None:
    config["sweep"] = {"train.beta": [0.25, 1.0]}
    path = write(tmp_path, config)
    summary = run(path)
    shared = ["generate", "score-length", "advantages"]
    assert stages(summary["made"]) == [*shared, "train", "train"]
    assert summary["found"] == []
    places = [tmp_path / "run" / name / "round-0" for name in ("beta=0.25", "beta=1.0")]
    for name in shared:
        assert os.readlink(places[0] / name) == os.readlink(places[1] / name)
    assert os.readlink(places[0] / "train") != os.readlink(places[1] / "train")
    again = run(path)
    assert (again["made"], again["found"]) == ([], summary["made"])

    # Another configuration with the same store and another β: nothing is sampled or scored.
    del config["sweep"]
    other = {**config, "output": str(tmp_path / "other"), "train": {**config["train"], "beta": 0.7}}
    assert to_do(write(tmp_path, other)) == ["round-0/train"]


def test_the_table_compares_variants_and_shows_what_they_share_once(tmp_path: Path) -> None:
    walked = Walk()
    for number, names in enumerate([["a=1/base", "a=2/base"], ["a=1/round-0"], ["a=2/round-0"]]):
        rows = [tiny.group_row(f"Say {number}.", ["x", "yy"])]
        groups = tiny.write_table(tmp_path / f"groups-{number}", "groups", rows)
        scores, out = tmp_path / f"scores-{number}", tmp_path / f"evaluate-{number}"
        tiny.grao_json("score", groups, scores, "--reward", "length", "--reward-arg", f"target={number + 1}")
        tiny.grao_json("evaluate", groups, scores, out, "--bootstrap-samples", 100)
        for name in names:
            settings = Settings(EvaluateOptions(), YamlSection("evaluate", ""))
            name_of_task, stage = f"{names[0]}/evaluate", stage_named("evaluate")
            task = Task(name_of_task, stage, settings, (groups, str(scores)), out, done=True)
            walked.evaluations[name] = walked.named[f"{name}/evaluate"] = task
    found = table(walked, Receipts(SILENT))
    assert [(row.variant, row.name) for row in found] == [("", "base"), ("a=1", "round-0"), ("a=2", "round-0")]
    means = [(row.metrics["mean_reward"] or {})["value"] for row in found]
    assert means == pytest.approx([1, 1 / 2, 1 / 3], abs=1e-6)  # samples of one word where 1, 2, 3 are wanted


@pytest.mark.slow
def test_replay_curriculum_and_pool_reach_their_stages(config: Config, tmp_path: Path) -> None:
    config |= {"rounds": 2, "reuse_rounds": 2, "pool": True, "curriculum": {"fraction": 0.5}}
    config["overrides"] = {1: {"train": {"beta": 0.1}}}
    path = write(tmp_path, config)
    summary = run(path)
    assert stages(summary["made"]) == [
        *("generate", "score-length", "advantages", "train"),
        *("curriculum", "generate", "score-length", "advantages", "train"),
    ]
    first, second = tmp_path / "run" / "round-0", tmp_path / "run" / "round-1"
    groups, scores, advantages = (
        [open_table(str(place / name)) for place in (first, second)]
        for name in ("generate", "score-length", "advantages")
    )
    assert groups[0].num_rows == 10
    assert groups[1].num_rows == 5  # half of ten prompts, none of which is solved
    assert open_table(str(second / "curriculum")).manifest.provenance.inputs["history"] == [
        [groups[0].fingerprint, scores[0].fingerprint]
    ]
    assert advantages[1].manifest.provenance.inputs["pool"] == [
        [groups[0].fingerprint, [["length", scores[0].fingerprint]]]
    ]
    trained = json.loads((second / "train" / "manifest.json").read_text())
    origins = trained["summary"]["origins"]
    assert [(origin["round"], origin["rounds_behind"], origin["groups"]) for origin in origins] == [
        (1, 0, 5),
        (0, 1, 10),
    ]
    rows = [row for row in tiny.grao_json("rounds", "status", path)["origins"] if row["training"] == "round-1/train"]
    assert [row["report"] for row in rows] == origins
    assert "rounds behind" in tiny.grao("rounds", "status", path).stdout
