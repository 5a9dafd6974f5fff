"""`grao rounds`: the loop makes what is missing, finds what is there, and survives `kill -9`."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from grao_pipeline.progress import RecordedProgress
from grao_pipeline.rounds.run import run_rounds
from tests import tiny
from tests.commands import Command
from tests.rounds.running import in_this_process, kill_when, run


def write_config(directory: Path, model: Path, table: str, **changes: Any) -> Path:
    """A one-round configuration in `directory`, with one prompts table for training and evaluation."""
    config: dict[str, Any] = {
        "output": str(directory / "run"),
        "model": str(model),
        "prompts": {"train": table, "eval": table},
        "generate": {
            "engine": "transformers",
            "samples": 4,
            "max_new_tokens": 8,
            "temperature": 1.0,
            "prompts_per_part": 3,
        },
        "score": {"reward": "length", "reward_arg": ["target=12", "unit=characters"]},
        "train": {"learning_rate": 1e-3, "groups_per_step": 3, "checkpoint_steps": 1, "epochs": 10},
        "evaluate": {"generate": {"samples": 2}, "bootstrap_samples": 200},
    }
    for name, change in changes.items():
        config[name] = {**config.get(name, {}), **change} if isinstance(change, dict) else change
    path = directory / "rounds.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def states(config: Path) -> dict[str, str]:
    """Task → state, according to `grao rounds plan`."""
    return {task["name"]: task["state"] for task in tiny.grao_json("rounds", "plan", config)["tasks"]}


def contents(config: Path) -> dict[str, Any]:
    """Every output of a run: bytes of tables and evaluations, tensors of models."""
    found: dict[str, Any] = {}
    for state in tiny.grao_json("rounds", "plan", config)["tasks"]:
        out = Path(state["out"])
        for path in sorted(out.rglob("*")):
            if path.suffix == ".parquet" or path.name == "metrics.json":
                found[f"{state['name']}/{path.name}"] = path.read_bytes()
            elif path.suffix == ".safetensors":
                found[f"{state['name']}/{path.name}"] = load_file(path)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, model: Path, prompts: str) -> Path:
    """The configuration of an undisturbed run of one round."""
    config = write_config(tmp_path_factory.mktemp("finished"), model, prompts)
    summary = run(config)
    assert summary["found"] == []
    return config


@pytest.mark.slow
def test_a_run_makes_every_task_once_and_finds_them_all_the_second_time(finished: Path) -> None:
    names = list(states(finished))
    assert names == [
        "base/evaluate-generate",
        "base/evaluate-score",
        "base/evaluate",
        "round-0/generate",
        "round-0/score-length",
        "round-0/advantages",
        "round-0/train",
        "round-0/evaluate-generate",
        "round-0/evaluate-score",
        "round-0/evaluate",
    ]
    assert set(states(finished).values()) == {"done"}
    progress = RecordedProgress()
    again = run_rounds(str(finished), progress)
    assert again.made == []
    assert again.found == names
    assert (progress.bar("rounds").done, progress.bar("rounds").total) == (10, 10)


@pytest.mark.slow
def test_rounds_are_logged_while_they_run(finished: Path, tmp_path: Path) -> None:
    """All is done already, so that only the follower works: its event files hold what the training wrote."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    with in_this_process():
        result = tiny.grao("rounds", "run", finished, "--log-to", "tensorboard")
    assert result.exit_code == 0, result.stderr
    output = finished.parent / "run"
    written = [json.loads(line) for line in (output / "round-0" / "train" / "metrics.jsonl").read_text().splitlines()]
    [file] = (output / "tensorboard" / "round-0" / "train").glob("events.*")
    logged = {
        event.step: {value.tag for value in event.summary.value}
        for event in loader.LegacyEventFileLoader(str(file)).Load()
        if event.summary.value
    }
    assert sorted(logged) == [step["step"] for step in written]
    assert all({"J", "reward"} <= names for names in logged.values())
    assert list((output / "tensorboard" / "evaluation").glob("events.*"))
    for words in (["--log-to", "tensorbord"], ["--log-to", "nosuch:Tracker"]):
        refused = tiny.grao("rounds", "run", finished, *words)
        assert (refused.exit_code, "--log-to" in refused.stderr) == (2, True), refused.stderr


@pytest.mark.slow
def test_a_note_that_a_later_round_repeats_is_counted(tmp_path: Path, model: Path, prompts: str) -> None:
    """The reward is constant in both rounds: one note in full, and one line that says that there are more."""
    config = write_config(tmp_path, model, prompts, rounds=2)
    values = yaml.safe_load(config.read_text())
    values["score"] = [{"reward": "regex", "reward_arg": ["pattern=."]}]
    values["advantages"] = {"keep_zero_variance": True}
    values["train"]["epochs"] = 1
    del values["prompts"]["eval"], values["evaluate"]
    config.write_text(yaml.safe_dump(values))
    progress = RecordedProgress()
    with in_this_process():
        run_rounds(str(config), progress)
    notes = [note for note in progress.notes if note.startswith("note: ")]
    assert sum("got the same reward" in note for note in notes) == 1
    assert any(note.endswith("more as in an earlier stage; grao report shows all") for note in notes)


@pytest.mark.slow
def test_the_table_holds_the_evaluations_and_what_each_stage_took(finished: Path) -> None:
    base, first = tiny.grao_json("rounds", "status", finished)["rows"]
    assert (base["name"], first["name"]) == ("base", "round-0")
    assert "nag_net" not in base["metrics"]
    assert first["metrics"]["nag_net"]["n"] == 10
    assert first["metrics"]["ras"]["n"] == 9  # one of the ten prompts has no reference
    assert all(seconds > 0 for seconds in first["seconds"].values())
    shown = tiny.grao("rounds", "status", finished).stdout
    assert "round-0" in shown
    assert f"{first['metrics']['mean_reward']['value']:.3f}" in shown


def test_the_run_directory_links_to_the_store(finished: Path) -> None:
    output = finished.parent / "run"
    assert (output / "round-0" / "train" / "config.json").is_file()
    assert (output / "round-0" / "generate" / "part-000000.parquet").is_file()
    assert json.loads((output / "base" / "evaluate" / "metrics.json").read_text())["table"] == "evaluation"


@pytest.mark.slow
def test_a_changed_beta_reruns_only_training_and_evaluation_and_plan_says_so(finished: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(finished.read_text())
    values["train"]["beta"] = 0.9
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(values))
    work = [name for name, state in states(changed).items() if state != "done"]
    assert work == ["round-0/train", "round-0/evaluate-generate", "round-0/evaluate-score", "round-0/evaluate"]
    assert run(changed)["made"] == work
    assert set(states(finished).values()) == {"done"}  # the other β's results are still there


def test_a_changed_reward_keeps_the_samples(finished: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(finished.read_text())
    values["score"]["reward_arg"] = ["target=20", "unit=characters"]
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(values))
    found = states(changed)
    assert [name for name, state in found.items() if state == "done"] == ["base/evaluate-generate", "round-0/generate"]
    assert found["round-0/score-length"] == "to do"
    assert found["round-0/train"] == "waits"


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_in_the_same_outputs(
    finished: Path, tmp_path: Path, model: Path, prompts: str
) -> None:
    config = write_config(tmp_path, model, prompts)
    moments = [
        "── base/evaluate-score",
        "part 1 committed",  # of round-0/generate, unless the base's second part is not committed yet
        "step 2/",
        "── round-0/evaluate-generate",
    ]
    parts: dict[str, int] = {}
    kills = 0
    for moment in moments:
        kills += kill_when(config, moment)
        now = {str(path): path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("part-*.parquet")}
        assert {path: now[path] for path in parts} == parts  # a committed part is never regenerated
        parts = now
    assert kills >= 3  # a stage may have been done before its parent's death reached it
    run(config)
    disturbed, undisturbed = contents(config), contents(finished)
    assert disturbed.keys() == undisturbed.keys()
    for name, expected in undisturbed.items():
        if isinstance(expected, dict):
            assert all(torch.equal(expected[key], disturbed[name][key]) for key in expected), name
        else:
            assert disturbed[name] == expected, name


def test_a_run_is_not_written_into_another_output(tmp_path: Path, model: Path, prompts: str) -> None:
    for place, what in ((prompts, "a table"), (str(model), "a model")):
        before = sorted(Path(place).iterdir())
        with in_this_process():
            result = tiny.grao("rounds", "run", write_config(tmp_path, model, prompts, output=place))
        assert result.exit_code == 1
        assert re.search(rf"rounds\.yaml:\d+: output: {place} holds {what} \(", result.stderr)
        assert sorted(Path(place).iterdir()) == before


def test_a_second_run_of_a_locked_directory_names_the_holder(tmp_path: Path, model: Path, prompts: str) -> None:
    from grao_pipeline.storage.locks import DirectoryLock

    config = write_config(tmp_path, model, prompts)
    with DirectoryLock(tmp_path / "run", "lock", "being run"), in_this_process():
        result = tiny.grao("rounds", "run", config)
    assert result.exit_code == 1
    assert f"process {os.getpid()}" in result.stderr


@pytest.mark.slow
def test_a_failing_stage_is_named_and_the_rest_is_kept(finished: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(finished.read_text())
    values["train"] |= {"learning_rate": 1e30, "max_grad_norm": 0.0}
    config = tmp_path / "failing.yaml"
    config.write_text(yaml.safe_dump(values))
    process = Command("rounds", "run", config)
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert "round-0/train failed (exit code 1)" in stderr
    assert "Lower --learning-rate" in stderr
    assert "Traceback" not in stderr
    assert states(config)["round-0/advantages"] == "done"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"learning_rat": 1}}, "train.learning_rat: there is no such option of this stage"),
        ({"train": {"model": "x"}}, "train.model is decided by the loop"),
        ({"generate": {"samples": 0}}, "generate.samples: input should be"),
        ({"score": {"reward": None}}, "score.reward"),
        ({"rounds": 0}, "rounds: input should be"),
        ({"color_of_all": "red"}, "color_of_all: there is no such key"),
        ({"prompts": {"source": "x.jsonl"}}, "give either 'source'"),
        ({"evaluate": {"confidence": 2}}, "evaluate.confidence: input"),
        ({"evaluate": {"generate": ["samples"]}}, "evaluate.generate: expected options"),
        ({"score": {"weight": "heavy"}}, "score.weight: expected a number, found 'heavy'"),
    ],
)
def test_a_wrong_configuration_is_refused_by_section_and_option(
    tmp_path: Path, model: Path, prompts: str, changes: dict[str, Any], message: str
) -> None:
    result = tiny.grao("rounds", "plan", write_config(tmp_path, model, prompts, **changes))
    assert result.exit_code == 2
    assert message in result.stderr


def test_two_rewards_of_one_name_are_refused_before_anything_runs(tmp_path: Path, model: Path, prompts: str) -> None:
    path = write_config(tmp_path, model, prompts)
    values = yaml.safe_load(path.read_text())
    values["score"] = [{"reward": "length", "reward_arg": [f"target={n}"]} for n in (5, 9)]
    path.write_text(yaml.safe_dump(values))
    result = tiny.grao("rounds", "plan", path)
    assert result.exit_code == 2
    assert "two entries are named 'length'" in result.stderr


def test_an_empty_section_means_the_defaults(tmp_path: Path, model: Path, prompts: str) -> None:
    path = write_config(tmp_path, model, prompts)
    path.write_text(path.read_text() + "advantages:\n")
    assert tiny.grao("rounds", "plan", path).exit_code == 0


def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rounds.yaml"
    path.write_text("output: [unclosed")
    assert "is not YAML" in tiny.grao("rounds", "plan", path).stderr
    path.write_text("just text")
    assert "expected keys such as" in tiny.grao("rounds", "plan", path).stderr
    missing = tiny.grao("rounds", "plan", tmp_path / "nothing.yaml")
    assert missing.exit_code == 1
    assert f"Cannot read {tmp_path}/nothing.yaml: No such file" in missing.stderr
