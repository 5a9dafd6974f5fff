"""`grao push` against a hub on loopback: what arrives is what was verified, with a card from the provenance."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from grao_pipeline.fingerprints import model_fingerprint
from tests import tiny
from tests.hub.fake_hub import FakeHub, serving_hub

ROOT = Path(__file__).parents[2]
SAMPLING = ["--engine", "transformers", "--samples", 2, "--max-new-tokens", 6, "--temperature", 1.0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A model that was trained, evaluated, and whose base names a license."""
    root = tmp_path_factory.mktemp("push") / "runs" / "here"
    shutil.copytree(model, root / "base")
    (root / "base" / "README.md").write_text("---\nlicense: mit\n---\n# Base\n")
    rows = [{"prompt": f"Say the number {i}.", "completion": f"It is {i}."} for i in range(4)]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny.grao_json("prompts", root / "rows.jsonl", root / "data", "--eval-fraction", 0.5)
    length = ["--reward", "length", "--reward-arg", "target=20"]
    tiny.grao_json("generate", root / "data/train", root / "groups", "--model", root / "base", *SAMPLING)
    tiny.grao_json("score", root / "groups", root / "scores", *length)
    tiny.grao_json("advantages", root / "groups", root / "advantages", "--scores", root / "scores")
    train = ["--model", root / "base", "--learning-rate", 1e-3]
    tiny.grao_json("train", root / "groups", root / "advantages", root / "model", *train)
    tiny.grao_json("generate", root / "data/eval", root / "eval", "--model", root / "model", *SAMPLING)
    tiny.grao_json("score", root / "eval", root / "eval-scores", *length)
    tiny.grao_json("evaluate", root / "eval", root / "eval-scores", root / "metrics")
    return root


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with serving_hub(FakeHub()) as running:
        yield running


def command(hub: FakeHub, cache: Path, *words: object, token: str = "hf_test") -> subprocess.CompletedProcess[str]:
    """`grao …` in another process, whose hub is the one on loopback."""
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": token, "HF_HOME": str(cache)}
    return subprocess.run(
        [sys.executable, "-m", "grao_pipeline", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment, "HF_HUB_DISABLE_XET": "1"},
    )


def head(card: str) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load(card.split("---")[1])
    return value


@pytest.mark.slow
def test_a_pushed_model_comes_back_from_the_hub_with_its_fingerprint(run: Path, hub: FakeHub, tmp_path: Path) -> None:
    pushed = command(hub, tmp_path, "push", run / "model", "me/aligned", "--json", "--private", "--message", "First")
    assert pushed.returncode == 0, pushed.stderr
    summary = json.loads(pushed.stdout)
    files = hub.files["models/me/aligned", "main"]
    assert (sorted(files), hub.messages[-1]) == (sorted(summary["names"]), "First")
    assert hub.created[-1]["visibility"] == "private"
    assert files["model.safetensors"] == (run / "model/model.safetensors").read_bytes()
    code = (
        "from grao_pipeline.models.source import locate_model\n"
        "print(locate_model('me/aligned').fingerprint, locate_model('me/aligned@main').fingerprint)"
    )
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    fetched = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert fetched.stdout.split() == [model_fingerprint(run / "model")] * 2, fetched.stderr


def test_the_card_of_a_model_tells_its_chain(run: Path) -> None:
    card = tiny.grao_json("push", run / "model", "me/aligned", "--dry-run")["card"]
    values = head(card)
    assert (values["license"], values["library_name"]) == ("mit", "transformers")
    metrics = json.loads((run / "metrics/metrics.json").read_text())["summary"]["metrics"]
    [result] = values["model-index"][0]["results"]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {
        name: metrics[name]["value"] for name in ("mean_reward", "ras")
    }
    mean = metrics["mean_reward"]
    assert f"| mean reward | {mean['value']:.3f} | {mean['low']:.3f} … {mean['high']:.3f} |" in card
    fingerprints = [tiny.grao_json("inspect", run / name)["provenance"]["fingerprint"] for name in ("groups", "scores")]
    assert all(fingerprint in card for fingerprint in fingerprints)
    rows = [line.split(" | ")[0] for line in card.partition("## How it was made")[2].splitlines() if line[:2] == "| "]
    assert rows[2:8] == ["| prompts", "| model base", "| groups", "| reward length", "| advantages", "| model"]


@pytest.mark.slow
def test_tables_are_splits_or_configurations_that_datasets_reads(run: Path, hub: FakeHub, tmp_path: Path) -> None:
    import datasets

    pushed = command(hub, tmp_path, "push", run / "data", "me/prompts", "--revision", "v2", "--json")
    assert pushed.returncode == 0, pushed.stderr
    files = hub.files["datasets/me/prompts", "v2"]
    assert files["train/.manifest.parquet"] == (run / "data/train/.manifest.parquet").read_bytes()
    assert hub.files["datasets/me/prompts", "main"] == {}
    copy = tmp_path / "copy"
    for name, content in files.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    splits = datasets.load_dataset(str(copy), cache_dir=str(tmp_path / "hf"))
    assert {name: len(split) for name, split in splits.items()} == {
        side: tiny.grao_json("inspect", run / "data" / side)["counts"]["rows"] for side in ("train", "eval")
    }
    card = tiny.grao_json("push", run, "me/all", "--dry-run")["card"]
    configs = {config["config_name"]: config["data_files"] for config in head(card)["configs"]}
    assert configs["groups"] == [{"split": "train", "path": "groups/part-*.parquet"}]
    assert {"eval", "scores", "advantages"} <= configs.keys()


@pytest.mark.slow
def test_what_is_damaged_or_refused_is_one_message(run: Path, hub: FakeHub, tmp_path: Path) -> None:
    copy = tmp_path / "groups"
    shutil.copytree(run / "groups", copy)
    part = copy / "part-000000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    damaged = tiny.grao("push", copy, "me/groups", "--dry-run")
    assert (damaged.exit_code, "is damaged" in damaged.stderr) == (1, True)
    trained = Path(shutil.copytree(run / "model", tmp_path / "trained"))
    log = trained / "metrics.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"step": 1', b'"step": 7'))
    damaged = tiny.grao("push", trained, "me/aligned", "--dry-run")
    assert (damaged.exit_code, f"{log} is damaged" in damaged.stderr) == (1, True)
    refused = command(hub, tmp_path, "push", run / "groups", "me/groups", token="hf_other")
    assert (refused.returncode, "The hub refuses the push to me/groups" in refused.stderr) == (1, True), refused.stderr
    assert "Traceback" not in refused.stderr
    (tmp_path / "empty").mkdir()
    nothing = tiny.grao("push", tmp_path / "empty", "me/groups")
    assert (nothing.exit_code, "holds no table and no model" in nothing.stderr) == (1, True)
    assert tiny.grao("push", copy, "me/a/b").exit_code == 2


@pytest.mark.slow
def test_a_hub_that_is_not_there_is_one_message(run: Path, hub: FakeHub, tmp_path: Path) -> None:
    nowhere = command(replace(hub, url="http://127.0.0.1:9"), tmp_path, "push", run / "groups", "me/groups")
    assert nowhere.returncode == 1
    assert nowhere.stderr.splitlines()[-1].startswith("Error: The hub cannot be reached: ")
    assert "Traceback" not in nowhere.stderr
