"""`grao rounds prune`, `keep` and `grao du`: weights that nothing needs any more are deleted, and nothing is remade."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from grao_pipeline.errors import InputError
from grao_pipeline.models.source import locate_model
from tests import tiny
from tests.rounds.running import run
from tests.rounds.test_plan import plan, write_config


def bytes_of(*places: Path) -> int:
    return sum(file.stat().st_size for place in places for file in place.rglob("*") if file.is_file())


def change(config: Path, **values: Any) -> None:
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | values))


@pytest.mark.slow
def test_after_a_prune_nothing_is_remade_and_the_last_model_is_trained_further(
    tmp_path: Path, model: Path, prompts: str
) -> None:
    config = write_config(
        tmp_path,
        model,
        prompts,
        rounds=3,
        prompts={"train": prompts, "eval": prompts},
        evaluate={"generate": {"samples": 1, "max_new_tokens": 2}, "bootstrap_samples": 100},
        train={"learning_rate": 1e-3, "groups_per_step": 10, "carry_optimizer": True},
    )
    everything = run(config)["made"]
    rows = tiny.grao_json("rounds", "status", config)["rows"]
    trained = [(tmp_path / "a run" / f"round-{number}" / "train").resolve() for number in range(3)]
    values = [row["metrics"]["mean_reward"]["value"] for row in rows if row["name"] != "base"]
    best = values.index(max(values))
    weights, states = [t / "model.safetensors" for t in trained], [t / "optimizer" for t in trained]
    doomed = [w for number, w in enumerate(weights) if number not in (best, 2)]

    used = tiny.grao_json("du", tmp_path / "a run")
    assert used["kinds"]["weights"] == sum(w.stat().st_size for w in weights)
    assert used["kinds"]["optimizer states"] == bytes_of(*states)
    assert used["bytes"] == sum(f.lstat().st_size for f in (tmp_path / "a run").rglob("*") if f.is_file())
    assert used["outputs"][0]["names"][0].endswith("/train")

    expected = sum(w.stat().st_size for w in doomed) + bytes_of(*states[:2])
    for flags in (["--dry-run"], []):
        assert all(w.is_file() for w in weights)
        summary = tiny.grao_json("rounds", "prune", config, *flags)
        assert (summary["pruned"], summary["bytes"]) == (["round-0/train", "round-1/train"], expected)
    assert [w.is_file() for w in weights] == [w not in doomed for w in weights]
    assert bytes_of(*states[:2]) == 0 < bytes_of(states[2])
    assert tiny.grao_json("rounds", "prune", config)["pruned"] == []

    assert {task["state"] for task in plan(config).values()} == {"done"}
    again = run(config)
    assert (again["made"], again["found"]) == ([], everything)
    assert tiny.grao_json("rounds", "status", config)["rows"] == rows
    for place in doomed:
        with pytest.raises(InputError, match="were deleted by grao rounds prune"):
            locate_model(str(place.parent))
    verified = tiny.grao_json("verify", trained[doomed[0].parent == trained[1]])
    assert verified["problems"] == []
    by_place = {one["place"]: one["state"] for one in verified["chain"]}
    gone = {str(place.parent) for place in doomed} & by_place.keys()
    assert {place for place, state in by_place.items() if state == "pruned"} == gone
    assert any(f"{len(gone)} of {len(verified['chain'])} outputs" in note for note in verified["notes"]) == bool(gone)

    change(config, rounds=4, keep={"models": "last"})
    assert {name.partition("/")[0] for name in run(config)["made"]} == {"round-3"}
    assert not any(w.is_file() for w in weights)
    assert (tmp_path / "a run" / "round-3" / "train" / "model.safetensors").is_file()

    shutil.rmtree(trained[0])  # what the message says to do
    assert run(config)["made"] == ["round-0/train"]
    assert not weights[0].is_file()  # and pruned it is


def test_outputs_without_a_run_are_counted_by_kind_too(tmp_path: Path, groups: str, model: Path) -> None:
    shutil.copytree(groups, tmp_path / "all" / "groups")
    shutil.copytree(model, tmp_path / "all" / "model")
    (tmp_path / "all" / "model" / "checkpoints").mkdir()
    (tmp_path / "all" / "model" / "checkpoints" / "step-00000001.pt").write_bytes(b"123")
    kinds = tiny.grao_json("du", tmp_path / "all")["kinds"]
    files = [file for file in (tmp_path / "all").rglob("*") if file.is_file()]
    for kind, ending in (("tables", ".parquet"), ("weights", ".safetensors"), ("checkpoints", ".pt")):
        assert kinds[kind] == sum(file.stat().st_size for file in files if file.suffix == ending) > 0
    assert sum(kinds.values()) == sum(file.stat().st_size for file in files)
    assert tiny.grao_json("du", tmp_path / "all" / "groups")["kinds"]["tables"] == kinds["tables"]


def test_a_wrong_keep_and_a_place_without_a_run_are_refused(tmp_path: Path, model: Path, prompts: str) -> None:
    result = tiny.grao("rounds", "plan", write_config(tmp_path, model, prompts, keep={"models": "best"}))
    assert result.exit_code == 2
    assert "keep.models: input should be 'all', 'best+last' or 'last', found 'best'." in result.stderr
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    in_a_circle = tiny.grao_json("du", tmp_path)
    assert in_a_circle["bytes"] > 0
    missing = tiny.grao("du", tmp_path / "nothing")
    assert missing.exit_code == 1
    assert "Name the output of a run, or its store." in missing.stderr
