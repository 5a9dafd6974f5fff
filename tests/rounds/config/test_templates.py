"""`grao rounds init` and `schema`, `plan --resolved`: a start, help in an editor, and what will run in full."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from grao_pipeline.rounds.config.compile import load_plan
from grao_pipeline.rounds.config.json_schema import rounds_schema
from grao_pipeline.rounds.config.templates import template_names, template_text
from tests import tiny
from tests.rounds.running import in_this_process
from tests.rounds.test_plan import write_config


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """Of the schema as it is printed. `jsonschema.validate` would check the schema itself every time."""
    schema = json.loads(tiny.grao("rounds", "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


DOCS = Path(__file__).parents[3] / "docs" / "rounds.md"


@pytest.mark.slow
@pytest.mark.parametrize("name", template_names())
def test_a_template_is_commented_and_valid(
    validator: jsonschema.Draft202012Validator, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "rounds.yaml"
    summary = tiny.grao_json("rounds", "init", name, "--out", path)
    assert summary == {"template": name, "file": str(path)}
    assert path.read_text().startswith("# ")
    assert load_plan(str(path)).variants
    validator.validate(yaml.safe_load(path.read_text()))


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "rounds.yaml"
    path.write_text("mine")
    result = tiny.grao("rounds", "init", "--out", path)
    assert result.exit_code == 1
    assert f"{path} exists already. Choose another file with --out." in result.stderr
    assert path.read_text() == "mine"


def test_an_unknown_template_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    result = tiny.grao("rounds", "init", "stort", "--out", tmp_path / "x.yaml")
    assert result.exit_code == 2
    assert "Unknown template 'stort'. Templates: judge, start, sweep." in result.stderr


@pytest.mark.slow
def test_the_schema_accepts_what_the_docs_show(validator: jsonschema.Draft202012Validator) -> None:
    for block in DOCS.read_text().split("```yaml\n")[1:2]:
        validator.validate(_with_text_keys(yaml.safe_load(block.split("```")[0])))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("rounds: 3", "rounds: 0", ["rounds"]),
        ("  samples: 8 ", "  sampels: 8 ", ["generate"]),
        ("  reward: gsm8k ", "  reward: 5 ", ["score", "reward"]),
        ("output:", "outptu:", []),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(
    validator: jsonschema.Draft202012Validator, old: str, new: str, path: list[str]
) -> None:
    text = template_text("start").replace("- reward: gsm8k", "  reward: gsm8k")
    assert old in text
    value = yaml.safe_load(text.replace(old, new))
    error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    assert error is not None
    assert list(error.absolute_path) == path


def test_every_option_of_the_schema_has_a_description() -> None:
    properties = rounds_schema()["properties"]
    train = properties["train"]["anyOf"][0]
    assert train["properties"]["beta"]["description"] == "Weight of GRAO's imitation term."
    assert train["properties"]["beta"]["default"] == 0.5
    assert "model" not in train["properties"]  # the loop decides it


def test_a_resolved_plan_prints_every_option_of_every_task(tmp_path: Path, model: Path, prompts: str) -> None:
    config = write_config(tmp_path, model, prompts)
    text = tiny.grao("rounds", "plan", config, "--resolved").stdout
    tasks = yaml.safe_load(text)
    assert list(tasks)[:2] == ["round-0/generate", "round-0/score-length"]
    generate, train = tasks["round-0/generate"], tasks["round-1/train"]
    assert generate["inputs"] == [prompts]
    assert generate["options"]["samples"] == 2  # the file's
    assert generate["options"]["top_p"] == 1.0  # the default
    assert train["options"]["lambda"] == 0.6
    assert train["out"] is None  # it waits for round 0


@pytest.mark.slow
def test_a_stage_of_the_rounds_names_the_line_of_its_option(tmp_path: Path, model: Path, prompts: str) -> None:
    config = write_config(tmp_path, model, prompts, generate={"engine": "transformers", "max_model_len": 9999})
    with in_this_process():
        result = tiny.grao("rounds", "run", config)
    assert result.exit_code == 1
    line = next(n for n, text in enumerate(config.read_text().splitlines(), 1) if "max_model_len" in text)
    assert f"{config}:{line}: " in result.stderr
    files = list((tmp_path / "a run" / "store" / "generate").glob("*.options.json"))
    options = json.loads(files[0].read_text())
    assert options["$lines"]["max_model_len"] == f"{config}:{line}"
    assert options["max_model_len"] == 9999


def _with_text_keys(value: Any) -> Any:
    """JSON has no number as a key."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value
