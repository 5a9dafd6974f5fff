"""`resample` in rounds: passes of further sampling until groups have a learning signal; the same whatever is killed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from grao_pipeline.errors import UsageError
from grao_pipeline.rounds.config.compile import load_plan
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.rounds.running import kill_when, run

Config = dict[str, Any]
LUCKY = "tests.rounds.rewards:lucky"


@pytest.fixture
def config(tmp_path: Path, model: Path, prompts: str) -> Config:
    """One round of ten prompts with two samples each; a quarter of the samples succeed."""
    return {
        "output": str(tmp_path / "run"),
        "model": str(model),
        "prompts": {"train": prompts},
        "generate": {
            "engine": "transformers",
            "samples": 2,
            "max_new_tokens": 6,
            "temperature": 1.0,
            "prompts_per_part": 4,
        },
        "score": {"reward": LUCKY, "name": "lucky"},
        "resample": {"attempts": 3, "samples": 3, "until": "variance"},
        "train": {"learning_rate": 1e-3, "groups_per_step": 10},
    }


def write(config: Config, path: Path) -> Path:
    path.write_text(yaml.safe_dump(config))
    return path


def tasks(path: Path) -> dict[str, dict[str, Any]]:
    return {task["name"]: task for task in tiny.grao_json("rounds", "status", path)["tasks"]}


def rewards(place: Path) -> list[list[float]]:
    """Of every group, those of its samples."""
    found: list[list[float]] = open_table(str(place), "scores").arrow(["rewards"])["rewards"].to_pylist()
    return found


def has_variance(group: list[float]) -> bool:
    return len(set(group)) > 1


@pytest.mark.slow
def test_passes_sample_what_has_no_signal_until_all_groups_have_one(config: Config, tmp_path: Path) -> None:
    path = write(config, tmp_path / "rounds.yaml")
    names = run(path)["made"]
    passes = [name for name in names if name.startswith("round-0/resample-") and name.endswith("-generate")]
    assert passes
    output = tmp_path / "run" / "round-0"
    before = rewards(output / "score-lucky")
    for number, _ in enumerate(passes, 1):
        after = rewards(output / f"resample-{number}-score-lucky")
        # A group with a signal is as it was; every other one has three more samples.
        assert [len(group) for group in after] == [len(group) + 3 * (not has_variance(group)) for group in before]
        assert [group[: len(old)] for group, old in zip(after, before, strict=True)] == before
        before = after
    ends = len(passes) == 3 or all(map(has_variance, before))
    assert ends
    status = tasks(path)
    last = status[f"round-0/resample-{len(passes) + 1}"]["did"]
    assert last["with_signal"] == sum(map(has_variance, before)) > status["round-0/resample-1"]["did"]["with_signal"]
    assert last["samples"] == sum(map(len, before))
    assert last["new_samples"] == 0
    # What the passes cost is what they sampled, not what they copied.
    sampled = [status[name]["cost"]["tokens_sampled"] for name in ("round-0/generate", *passes)]
    groups = open_table(str(output / passes[-1].partition("/")[2]), "groups").arrow(["completion_token_ids"])
    assert sum(sampled) == sum(len(ids) for row in groups["completion_token_ids"].to_pylist() for ids in row)
    assert status["round-0/advantages"]["did"]["zero_variance_groups"] == 10 - last["with_signal"]


@pytest.mark.slow
def test_a_plan_knows_at_most_all_passes_and_the_rounds_end_earlier(config: Config, tmp_path: Path) -> None:
    config["score"] = {"reward": "tests.rounds.rewards:even", "name": "even"}
    config["resample"] = {"attempts": 6, "samples": 8}
    path = write(config, tmp_path / "rounds.yaml")
    planned = [task["name"] for task in tiny.grao_json("rounds", "plan", path)["tasks"]]
    assert [name for name in planned if name.endswith("-generate")] == [
        f"round-0/resample-{number}-generate" for number in range(1, 7)
    ]
    assert planned[-3:] == ["round-0/resample-7", "round-0/advantages", "round-0/train"]
    names = run(path)["made"]
    assert "round-0/resample-6-generate" not in names
    assert {task["state"] for task in tiny.grao_json("rounds", "plan", path)["tasks"]} == {"done"}
    longer = write(config | {"resample": {"attempts": 9, "samples": 8}}, tmp_path / "longer.yaml")
    assert run(longer)["made"] == []  # it ended before the last attempt


@pytest.mark.slow
def test_several_rewards_are_combined_before_it_is_known_what_lacks(config: Config, tmp_path: Path) -> None:
    config["score"] = [config["score"], {"reward": "tests.rounds.rewards:even", "name": "even", "weight": 0.5}]
    config["resample"] = {"attempts": 1}
    path = write(config, tmp_path / "rounds.yaml")
    names = run(path)["made"]
    assert names[3:5] == ["round-0/resample-1-advantages", "round-0/resample-1"]
    assert names[-2:] == ["round-0/resample-2", "round-0/train"]  # its advantages are those of the round
    links = [(tmp_path / "run" / "round-0" / name).readlink() for name in ("advantages", "resample-2-advantages")]
    assert links[0] == links[1]
    first = tasks(path)["round-0/resample-1"]["did"]
    assert first["new_samples"] == 2 * first["prompts"]  # as many as generate draws


@pytest.mark.slow
def test_other_prompts_of_the_walk_replace_those_without_a_signal(config: Config, tmp_path: Path) -> None:
    config |= {"minibatch": {"prompts_per_round": 4}, "resample": {"attempts": 2, "replace": True}}
    run(write(config, tmp_path / "rounds.yaml"))
    output = tmp_path / "run" / "round-0"
    first, second = rewards(output / "score-lucky"), rewards(output / "resample-1-score-lucky")
    lacking = sum(not has_variance(group) for group in first)
    assert lacking
    assert len(second) == 4 + min(lacking, 6)
    assert {len(group) for group in second} == {2}


def test_what_replaces_must_come_from_somewhere(config: Config, tmp_path: Path) -> None:
    config["resample"] = {"replace": True}
    with pytest.raises(UsageError, match=r"resample.replace: a round takes all prompts, so that there are no others\."):
        load_plan(str(write(config, tmp_path / "rounds.yaml")))


@pytest.mark.slow
def test_overlapped_rounds_resample_the_same_tables(config: Config, tmp_path: Path) -> None:
    config |= {"rounds": 2, "resample": {"attempts": 1}, "overlap": 1}
    run(write(config, tmp_path / "rounds.yaml"))
    status = tasks(tmp_path / "rounds.yaml")
    assert {task["state"] for task in status.values()} == {"done"}
    # Both rounds sample the base model; the number of the round is part of the seeds.
    names = ["round-0/generate", "round-1/generate", "round-1/resample-1-generate"]
    assert len({status[name]["out"] for name in names}) == 3


def contents(directory: Path) -> dict[str, bytes]:
    """The rows of all tables of a store, by their places in it."""
    places = sorted(path.parent for path in directory.rglob(".manifest.parquet"))
    return {
        str(place.relative_to(directory)): b"".join(part.read_bytes() for part in sorted(place.glob("part-*.parquet")))
        for place in places
    }


@pytest.mark.slow
def test_a_run_killed_in_every_pass_ends_in_the_same_tables(config: Config, tmp_path: Path) -> None:
    quiet = write(config | {"output": str(tmp_path / "quiet")}, tmp_path / "quiet.yaml")
    run(quiet)
    disturbed = write(config | {"output": str(tmp_path / "disturbed")}, tmp_path / "disturbed.yaml")
    kills = 0
    for moment in ("── round-0/resample-1", "part 1 committed", "── round-0/resample-1-score", "── round-0/resample-2"):
        kills += kill_when(disturbed, moment)
    assert kills >= 3
    run(disturbed)
    expected = contents(tmp_path / "quiet" / "store")
    assert len(expected) >= 8
    assert contents(tmp_path / "disturbed" / "store") == expected
