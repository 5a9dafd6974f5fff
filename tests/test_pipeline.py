"""The records of the stages: each leads somewhere, and a new stage is one record and one file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from grao_pipeline.options import StageOptions, option_names
from grao_pipeline.pipeline import STAGES, stage_named, stages
from grao_pipeline.stage import Stage, load_object
from grao_pipeline.storage.reader import open_table

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_record_leads_to_its_options_and_functions(stage: Stage) -> None:
    assert issubclass(stage.options_model, StageOptions)
    places = (stage.verb, stage.preview, stage.identity, stage.loop, stage.check, stage.estimate, stage.label)
    for place in places:
        assert not place or callable(load_object(place))
    assert stage.decided_by_loop <= set(option_names(stage.options_model))


def test_stages_are_unique_and_named() -> None:
    assert len({stage.name for stage in stages()}) == len(stages())
    assert stage_named("score").output == "scores"
    with pytest.raises(KeyError):
        stage_named("polish")


@pytest.mark.slow
def test_listing_the_stages_imports_nothing_heavy() -> None:
    code = """
import sys
from grao_pipeline.pipeline import stages
assert stages()
print([name for name in ("pydantic", "polars", "pyarrow", "numpy", "torch", "click") if name in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert process.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of processes that see the toy stage as an installed package."""
    place = tmp_path_factory.mktemp("packages")
    information = place / "toy_stage-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-stage\nVersion: 1.0\n")
    published = "first-samples = tests.toy_stage:STAGE\nother = tests.toy_stage:CANNOT_BE_IMPORTED\n"
    (information / "entry_points.txt").write_text(f"[grao_pipeline.stages]\n{published}")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)])}


def run(environment: dict[str, str], *arguments: object) -> str:
    """`grao ARGUMENTS` in another process, which must succeed; its standard output."""
    command = [sys.executable, "-m", "grao_pipeline", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.slow
def test_one_record_makes_a_command(environment: dict[str, str], groups: str, tmp_path: Path) -> None:
    commands = run(environment, "--help").partition("Commands:")[2]
    assert commands.index("generate ") < commands.index("first-samples ") < commands.index("score ")
    assert "Samples to keep of every group.  [default: 2" in run(environment, "first-samples", "--help")
    summary = json.loads(run(environment, "first-samples", groups, tmp_path / "out", "--samples", 1, "--json"))
    assert summary["groups"] == 10
    rows = open_table(str(tmp_path / "out"), "groups").arrow().to_pylist()
    assert [len(row["completions"]) for row in rows] == [1] * 10


@pytest.mark.slow
def test_one_record_makes_a_stage_of_the_rounds(
    environment: dict[str, str], model: Path, prompts: str, tmp_path: Path
) -> None:
    config: dict[str, Any] = {
        "output": str(tmp_path / "run"),
        "model": str(model),
        "prompts": {"train": prompts},
        "generate": {"engine": "transformers", "samples": 4, "max_new_tokens": 6, "temperature": 1.0},
        "first-samples": {"samples": 3},
        "score": [{"reward": "length", "reward_arg": ["target=12", "unit=characters"]}],
        "train": {"learning_rate": 1e-3, "groups_per_step": 10},
    }
    path = tmp_path / "rounds.yaml"
    path.write_text(yaml.safe_dump(config))
    planned = json.loads(run(environment, "rounds", "plan", path, "--json"))["tasks"]
    assert [task["name"] for task in planned][1] == "round-0/first-samples"
    summary = json.loads(run(environment, "rounds", "run", path, "--json"))
    names = ("generate", "first-samples", "score-length", "advantages", "train")
    assert summary["made"] == [f"round-0/{name}" for name in names]
    scores = open_table(str(tmp_path / "run" / "round-0" / "score-length"), "scores").arrow().to_pylist()
    assert {len(row["rewards"]) for row in scores} == {3}
    wrong = {**config, "first-samples": {"sample": 3}}
    path.write_text(yaml.safe_dump(wrong))
    command = [sys.executable, "-m", "grao_pipeline", "rounds", "plan", str(path)]
    refused = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert refused.returncode == 2
    assert "first-samples.sample: there is no such option of this stage. Did you mean samples?" in refused.stderr
