"""Tournaments: what methods share is done and counted once; rows are those of the tables; wrong files are refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from grao_pipeline.evaluation.record import read_evaluation
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import read_record
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.rounds.running import in_this_process

METHODS: dict[str, dict[str, Any]] = {
    "grao": {},
    "stable": {"preset": "stable"},
    "no-imitation": {"train": {"beta": 0.0}},
    "sft": {"train": {"objective": "sft"}},
    "grpo": {"advantages": {"statistics": "samples"}, "train": {"objective": "grpo"}},
    "dpo": {"train": {"objective": "dpo"}},
    "chord": {"train": {"objective": "chord", "objective_arg": ["mu=0.3"]}},
    "best-of-n": {"advantages": {"estimator": "best-of-n"}},
    "rloo": {"advantages": {"estimator": "rloo"}},
}


def write(directory: Path, model: Path, table: str, variants: object, others: dict[str, Any] | None = None) -> Path:
    config = {
        "output": str(directory / "run"),
        "model": str(model),
        "prompts": {"train": table, "eval": table},
        "generate": {"engine": "transformers", "samples": 4, "max_new_tokens": 4, "temperature": 1.0},
        "score": [{"reward": "length", "reward_arg": ["target=12", "unit=characters"]}],
        "advantages": {"keep_zero_variance": True},
        "train": {"learning_rate": 1e-2, "groups_per_step": 10},
        "evaluate": {"generate": {"samples": 2}},
        "variants": variants,
        **(others or {}),
    }
    path = directory / "tournament.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


@pytest.fixture(scope="module", autouse=True)
def stages_in_this_process() -> Iterator[None]:
    with in_this_process():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, model: Path, prompts: str) -> tuple[Path, dict[str, Any]]:
    path = write(tmp_path_factory.mktemp("tournament"), model, prompts, METHODS)
    return path, tiny.grao_json("tournament", path)


@pytest.mark.slow
def test_nine_methods_share_one_sampling_and_one_scoring(finished: tuple[Path, dict[str, Any]]) -> None:
    path, summary = finished
    store = path.parent / "run" / "store"
    # One table of groups to train on, those of the base model and of nine models to evaluate.
    assert {row["method"] for row in summary["rows"]} == set(METHODS)
    made = {kind: sum(place.is_dir() for place in (store / kind).iterdir()) for kind in ("generate", "score", "train")}
    assert made == {"generate": 1 + 1 + 9, "score": 1 + 1 + 9, "train": 9}
    groups = open_table(str(path.parent / "run" / "grao" / "round-0" / "generate")).arrow()
    tokens = sum(len(ids) for row in groups["completion_token_ids"].to_pylist() for ids in row)
    assert summary["shared"]["tokens_sampled"] == tokens
    assert summary["shared"]["judgements"] > 0
    assert all(row["costs"]["tokens_sampled"] == row["costs"]["judgements"] == 0 for row in summary["rows"])
    assert all(row["costs"]["tokens_trained"] > 0 for row in summary["rows"])
    assert summary["made"] > 9
    assert summary["found"] == 0


@pytest.mark.slow
def test_a_row_is_the_mean_difference_over_the_held_out_prompts(finished: tuple[Path, dict[str, Any]]) -> None:
    path, summary = finished

    def means(method: str) -> dict[str, float]:
        place = path.parent / "run" / method / "round-0"
        groups = open_table(str(place / "evaluate-generate")).arrow()["prompt_id"].to_pylist()
        rewards = open_table(str(place / "evaluate-score")).arrow()["rewards"].to_pylist()
        return {name: fmean(values) for name, values in zip(groups, rewards, strict=True)}

    baseline = means("grao")
    assert summary["baseline"] == "grao"
    for row in summary["rows"]:
        of_method = means(row["method"])
        assert row["metrics"]["mean_reward"]["value"] == pytest.approx(fmean(of_method.values()))
        if row["method"] == "grao":
            assert (row["difference"], row["narrower"]) == (None, None)
            continue
        expected = fmean(of_method[name] - baseline[name] for name in baseline)
        assert row["difference"]["value"] == pytest.approx(expected, abs=1e-12)
        assert row["difference"]["n"] == len(baseline)
        assert row["difference"]["low"] <= expected <= row["difference"]["high"]
    rewards = [row["metrics"]["mean_reward"]["value"] for row in summary["rows"]]
    assert rewards == sorted(rewards, reverse=True)


@pytest.mark.slow
def test_a_row_has_the_metrics_of_the_last_evaluation(finished: tuple[Path, dict[str, Any]]) -> None:
    path, summary = finished
    for row in summary["rows"]:
        evaluation = read_evaluation(str(path.parent / "run" / row["method"] / "round-0" / "evaluate"))
        assert evaluation is not None
        assert row["metrics"] == evaluation.metrics
        assert {"mean_reward", "ras", "nag_net"} <= row["metrics"].keys()


@pytest.mark.slow
def test_the_options_of_evaluate_are_those_of_the_differences(finished: tuple[Path, dict[str, Any]]) -> None:
    path, summary = finished
    config = yaml.safe_load(path.read_text())
    for changes, is_wider in (({"confidence": 0.5}, False), ({"confidence": 0.99}, True)):
        config["evaluate"] |= changes
        other = path.with_name(f"{changes['confidence']}.yaml")
        other.write_text(yaml.safe_dump(config, sort_keys=False))
        rows = {row["method"]: row for row in tiny.grao_json("tournament", other)["rows"]}
        for row in summary["rows"]:
            if row["difference"] is not None and row["difference"]["low"] < row["difference"]["high"]:
                both = [of["difference"] for of in (rows[row["method"]], row)]
                width, before = (interval["high"] - interval["low"] for interval in both)
                assert (width > before) == is_wider


@pytest.mark.slow
def test_the_second_time_everything_is_found_and_the_baseline_may_be_another(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    path, summary = finished
    again = tiny.grao_json("tournament", path, "--baseline", "sft")
    assert (again["made"], again["found"]) == (0, summary["made"])
    written = read_record(Directory(str(path.parent / "run")), "tournament.json")
    assert written is not None
    assert written["rows"] == again["rows"]
    differences = {row["method"]: row["difference"] for row in again["rows"]}
    first = {row["method"]: row["difference"] for row in summary["rows"]}
    assert differences["sft"] is None
    assert differences["grao"]["value"] == pytest.approx(-first["sft"]["value"])
    printed = tiny.grao("tournament", path).stdout
    assert "methods against grao" in printed
    assert "against baseline" in printed


@pytest.mark.parametrize(
    ("variants", "others", "message"),
    [
        ({}, {}, "variants: it is empty; name methods"),
        ({"a/b": {}}, {}, "variants: 'a/b' cannot be the name of a directory."),
        ({"a": {"training": {}}}, {}, "variants: a: training is not a section that variants may change."),
        ({"a": {"train": {"bta": 1}}}, {}, "train.bta: there is no such option of this stage."),
        ({"a": {}}, {"sweep": {"train.beta": [0.1]}}, "variants: there is a sweep, too. Keep one of them."),
        ({"a": {}}, {}, "a tournament needs several methods."),
        ({"a": {}, "b": {}}, {"prompts": {"train": "x"}}, "a tournament needs held-out prompts"),
    ],
)
def test_a_file_that_is_no_tournament_is_refused(
    tmp_path: Path, variants: object, others: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, tmp_path, "data", variants, others)
    result = tiny.grao("tournament", path)
    assert result.exit_code == 2
    assert message in result.output


def test_an_unknown_baseline_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, tmp_path, "data", {"sft": {}, "grao": {}})
    result = tiny.grao("tournament", path, "--baseline", "stf")
    assert result.exit_code == 2
    assert "--baseline: there is no method 'stf'. Did you mean sft?" in result.output


@pytest.mark.slow
def test_a_method_that_fails_is_named_and_the_others_are_compared(tmp_path: Path, model: Path, prompts: str) -> None:
    nothing_left = {"advantages": {"min_mean_reward": 1000.0}}
    also = {**nothing_left, "preset": "paper"}
    methods = {"empty": nothing_left, "empty-too": also, "sft": METHODS["sft"], "grao": {}}
    path = write(tmp_path, model, prompts, methods)
    result = tiny.grao("tournament", path, "--baseline", "grao", "--json")
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert {row["method"] for row in summary["rows"]} == {"grao", "sft"}
    assert set(summary["failures"]) == {"empty", "empty-too"}
    assert "empty/round-0/train failed (exit code 1)" in summary["failures"]["empty"]
    assert result.stderr.count("Nothing to train on: ") == 1  # what both share is tried once
    assert "2 variants failed; the others are finished." in result.stderr
    refused = tiny.grao("tournament", path, "--baseline", "empty")
    assert refused.exit_code == 1
    assert "2 variants failed" in refused.output
