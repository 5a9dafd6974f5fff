"""`grao score`: every sample and reference is judged, or null with a reason."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from grao_pipeline.progress import RecordedProgress
from grao_pipeline.schemas import Status
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, FakeReward, Judgement
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.scoring.summary import ScoreSummary
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.manifests import manifest_of


def scores_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_table(str(path), "scores").arrow().to_pylist()
    return rows


def state_of(path: Path) -> dict[str, tuple[int, int]]:
    """(inode, time of the last change) of every file."""
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in path.iterdir()}


def content_of(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def groups_table(path: Path, **changes: Any) -> str:
    """Three groups of two samples, in two parts."""
    rows = [
        tiny.group_row("What is 2 + 2?", ["4", "four"], reference="#### 4", answer="4"),
        tiny.group_row("What is 2 + 3?", ["6", "5"], reference="#### 5", answer="5"),
        tiny.group_row("What is 3 + 3?", ["6", "A: 6"], reference=None, answer="6"),
    ]
    return tiny.write_table(path, "groups", [{**row, **changes} for row in rows], rows_per_part=2)


def test_the_seconds_of_several_processes_are_those_of_the_slowest() -> None:
    summary = ScoreSummary()
    for seconds in (2.0, 5.0, 3.0):
        summary.add_process(asdict(ScoreSummary(seconds=seconds, cache_misses=3)))
    assert (summary.seconds, summary.cache_misses) == (5.0, 9)


def test_samples_and_references_are_scored_by_the_same_reward(tmp_path: Path) -> None:
    groups = groups_table(tmp_path / "groups")
    summary = tiny.grao_json("score", groups, tmp_path / "scores", "--reward", "gsm8k")
    rows = scores_of(tmp_path / "scores")
    assert [row["rewards"] for row in rows] == [[1, 0], [0, 1], [1, 1]]
    assert [row["reference_reward"] for row in rows] == [1, 1, None]
    assert rows[0]["details"] == ["final number 4", "no final number"]
    assert [row["group_id"] for row in rows] == open_table(groups, "groups").arrow().column("group_id").to_pylist()
    assert summary == summary | {
        "groups": 3,
        "parts_made": 2,
        "parts_found": 0,
        "samples": 6,
        "statuses": {"ok": 6},
        "references_scored": 2,
        "references_failed": 0,
        "mean_reward": pytest.approx(4 / 6),
        "name": "gsm8k",
    }


def test_parts_and_rows_are_those_of_the_groups(groups: str, tmp_path: Path) -> None:
    tiny.grao_json("score", groups, tmp_path, "--reward", "length", "--reward-arg", "target=5")
    for theirs in sorted(Path(groups).glob("part-*.parquet")):
        ours = pq.read_table(tmp_path / theirs.name).column("group_id")
        assert ours.to_pylist() == pq.read_table(theirs).column("group_id").to_pylist()


def test_a_row_that_cannot_be_judged_affects_only_itself(tmp_path: Path) -> None:
    rows = [
        tiny.group_row("a", ["1", "2"], reference="1", answer="1"),
        tiny.group_row("b", ["1", "2"], reference="1"),
        tiny.group_row("c", ["1", "2"], reference=None),
    ]
    groups = tiny.write_table(tmp_path / "groups", "groups", rows)
    summary = tiny.grao_json("score", groups, tmp_path / "scores", "--reward", "exact-match")
    scores = scores_of(tmp_path / "scores")
    assert [row["rewards"] for row in scores] == [[1, 0], [None, None], [None, None]]
    assert [row["statuses"] for row in scores] == [["ok", "ok"], ["error", "error"], ["error", "error"]]
    assert [row["reference_reward"] for row in scores] == [1, None, None]
    assert scores[1]["details"] == ["metadata has no 'answer' to compare with"] * 2
    assert summary["statuses"] == {"error": 4, "ok": 2}
    assert (summary["references_scored"], summary["references_failed"]) == (1, 1)
    assert summary["mean_reward"] == 0.5  # of the two that were judged


def test_parts_that_fail_are_nulls_if_other_parts_can_be_judged(tmp_path: Path) -> None:
    answers = [None, "1", None]  # a part each: the first is held back until the second shows that the reward works
    rows = [tiny.group_row(str(i), ["1", "2"], reference="1", answer=answer) for i, answer in enumerate(answers)]
    groups = tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=1)
    summary = tiny.grao_json("score", groups, tmp_path / "scores", "--reward", "exact-match")
    assert summary["statuses"] == {"error": 4, "ok": 2}
    assert summary["parts_made"] == 3
    scores = open_table(str(tmp_path / "scores"), "scores").arrow()
    assert scores.column("rewards").to_pylist() == [[None, None], [1.0, 0.0], [None, None]]


def test_a_reward_that_always_fails_ends_the_stage_without_output(tmp_path: Path) -> None:
    rows = [tiny.group_row(str(i), ["1", "2"], reference="1") for i in range(4)]
    groups = tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=2)
    result = tiny.grao("score", groups, tmp_path / "scores", "--reward", "exact-match")
    assert result.exit_code == 1
    assert "Reward 'exact-match' failed on all 8 samples so far, e.g.: metadata has no 'answer'" in result.stderr
    assert not (tmp_path / "scores").exists()


class Watching(FakeReward):
    """Records the completions that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def score(self, candidates: Sequence[Candidate]) -> Iterable[Judgement]:
        self.seen += [candidate.completion for candidate in candidates]
        return super().score(candidates)


def test_an_aborted_sample_is_not_judged(tmp_path: Path) -> None:
    row = tiny.group_row("a", ["one", "", "three"], reference="reference")
    row["finish_reasons"] = ["stop", "abort", "length"]
    groups = tiny.write_table(tmp_path / "groups", "groups", [row])
    reward = Watching()
    score_groups(groups, str(tmp_path / "scores"), ScoreOptions(reward="fake"), reward=reward)
    assert reward.seen == ["one", "three", "reference"]
    (scores,) = scores_of(tmp_path / "scores")
    assert scores["rewards"] == [3, None, 5]
    assert scores["statuses"] == ["ok", "error", "ok"]
    assert scores["details"] == [None, "the sample was aborted", None]
    assert scores["reference_reward"] == 9


def test_a_part_with_only_aborted_samples_is_not_a_failure(tmp_path: Path) -> None:
    """All its prompts were too long for the policy; only the references could be judged."""
    row = tiny.group_row("a", ["", ""], reference="A: 5", answer="5") | {"finish_reasons": ["abort", "abort"]}
    alone = tiny.group_row("b", ["", ""], reference=None, answer="5") | {"finish_reasons": ["abort", "abort"]}
    groups = tiny.write_table(tmp_path / "groups", "groups", [row, alone], rows_per_part=1)
    summary = tiny.grao_json("score", groups, tmp_path / "scores", "--reward", "gsm8k")
    assert [row["rewards"] for row in scores_of(tmp_path / "scores")] == [[None, None], [None, None]]
    assert [row["reference_reward"] for row in scores_of(tmp_path / "scores")] == [1, None]
    assert summary["statuses"] == {"error": 4}
    assert summary["mean_reward"] is None


def test_a_reward_keeps_its_own_statuses(tmp_path: Path) -> None:
    class Judge(FakeReward):
        def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
            statuses: tuple[Status, ...] = ("unparsable", "truncated")
            return [Judgement(None, statuses[index % 2], "why") for index, _ in enumerate(candidates)]

    groups = groups_table(tmp_path / "groups", reference=None, reference_token_ids=None)
    summary = score_groups(groups, str(tmp_path / "scores"), ScoreOptions(reward="judge"), reward=Judge())
    assert summary.statuses == {"truncated": 3, "unparsable": 3}
    assert {tuple(row["statuses"]) for row in scores_of(tmp_path / "scores")} == {("unparsable", "truncated")}


def test_the_name_is_the_given_one_or_the_rewards(groups: str, tmp_path: Path) -> None:
    command = ("score", groups, tmp_path / "a", "--reward", "length", "--reward-arg", "target=5")
    assert tiny.grao_json(*command)["name"] == "length"
    assert tiny.grao_json("score", groups, tmp_path / "b", *command[3:], "--name", "short")["name"] == "short"
    assert manifest_of(tmp_path / "b")["options"]["name"] == "short"
    result = tiny.grao(*command, "--name", "short")
    assert result.exit_code == 1
    assert "name was 'length' and is now 'short'" in result.stderr


def test_two_runs_write_the_same_bytes(groups: str, tmp_path: Path) -> None:
    options = ("--reward", "length", "--reward-arg", "target=5")
    tiny.grao_json("score", groups, tmp_path / "a", *options)
    tiny.grao_json("score", groups, tmp_path / "b", *options, "--batch-size", 1)
    assert content_of(tmp_path / "a") == content_of(tmp_path / "b")


def test_scores_say_where_they_came_from(groups: str, tmp_path: Path) -> None:
    options = ("--reward", "length", "--reward-arg", "target=5")
    summary = tiny.grao_json("score", groups, tmp_path, *options)
    manifest = manifest_of(tmp_path)
    assert manifest["table"] == "scores"
    assert manifest["fingerprint"] == summary["fingerprint"]
    scope = {"when": None, "missing": "error", "score_on": "answer"}
    assert manifest["options"] == {"reward": "length", "name": "length", "target": 5, "unit": "words", **scope}
    assert manifest["inputs"] == {"groups": open_table(groups, "groups").fingerprint}
    for part in tmp_path.glob("part-*.parquet"):
        written = json.loads(pq.read_schema(part).metadata[b"grao"])
        assert written == {key: value for key, value in manifest.items() if key not in ("parts", "rows")}


def test_a_finished_run_is_left_alone(groups: str, tmp_path: Path) -> None:
    options = ScoreOptions(reward="fake")
    score_groups(groups, str(tmp_path), options, reward=FakeReward())
    before = state_of(tmp_path)
    reward = FakeReward()
    summary = score_groups(groups, str(tmp_path), options, reward=reward)
    assert (summary.parts_made, summary.parts_found, reward.num_scored) == (0, 3, 0)
    assert state_of(tmp_path) == before


@pytest.mark.parametrize("lost", [["part-000001.parquet"], [".manifest.parquet", "part-000002.parquet"]])
def test_a_lost_part_is_scored_again_and_the_others_are_not(lost: list[str], groups: str, tmp_path: Path) -> None:
    options = ScoreOptions(reward="fake")
    score_groups(groups, str(tmp_path), options, reward=FakeReward())
    content, before = content_of(tmp_path), state_of(tmp_path)
    for name in lost:
        (tmp_path / name).unlink()
    summary = score_groups(groups, str(tmp_path), options, reward=FakeReward())
    assert (summary.parts_made, summary.parts_found) == (1, 2)
    assert content_of(tmp_path) == content
    kept = [name for name in content if name not in (*lost, ".manifest.parquet")]
    assert {name: state_of(tmp_path)[name] for name in kept} == {name: before[name] for name in kept}


def test_a_regenerated_part_of_the_groups_is_scored_again(tmp_path: Path) -> None:
    """Same fingerprint, other samples: as when a lost part of the groups is sampled again on another machine."""
    rows = [tiny.group_row(str(i), ["one", "three"], reference="r") for i in range(6)]
    groups = tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=2, fingerprint="f" * 32)
    options = ScoreOptions(reward="fake")
    score_groups(groups, str(tmp_path / "scores"), options, reward=FakeReward())
    before = state_of(tmp_path / "scores")

    for name in ("part-000001.parquet", ".manifest.parquet"):
        (tmp_path / "groups" / name).unlink()
    rows[2] = tiny.group_row("2", ["other", "x"], reference="r", token_ids=[[9, 2], [8, 2]])
    tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=2, fingerprint="f" * 32)
    notices: list[str] = []
    summary = score_groups(
        groups, str(tmp_path / "scores"), options, RecordedProgress(notices.append), reward=FakeReward()
    )
    assert summary.parts_made == 1
    assert any("part-000001.parquet does not hold the groups" in notice for notice in notices)
    assert [row["rewards"] for row in scores_of(tmp_path / "scores")] == [
        [3, 5],
        [3, 5],
        [5, 1],
        [3, 5],
        [3, 5],
        [3, 5],
    ]
    after = state_of(tmp_path / "scores")
    assert {name for name in before if before[name] != after[name]} == {"part-000001.parquet", ".manifest.parquet"}


def test_scores_of_other_groups_are_not_overwritten(groups: str, tmp_path: Path) -> None:
    command = ("--reward", "length", "--reward-arg", "target=5")
    tiny.grao_json("score", groups, tmp_path / "scores", *command)
    before = content_of(tmp_path / "scores")
    result = tiny.grao("score", groups_table(tmp_path / "others"), tmp_path / "scores", *command)
    assert result.exit_code == 1
    assert "input groups was " in result.stderr
    assert content_of(tmp_path / "scores") == before


def test_a_table_of_another_kind_is_refused(prompts: str, tmp_path: Path) -> None:
    result = tiny.grao("score", prompts, tmp_path, "--reward", "gsm8k")
    assert result.exit_code == 1
    assert f"{prompts} is a directory of kind 'prompts'; this needs a table of kind 'groups'" in result.stderr


@pytest.mark.parametrize(
    ("metadata", "message"),
    [("{", "'metadata' is not a JSON object (Expecting"), ("[1]", "'metadata' is not a JSON object (expected")],
)
def test_metadata_must_be_an_object(metadata: str, message: str, tmp_path: Path) -> None:
    groups = groups_table(tmp_path / "groups", metadata=metadata)
    result = tiny.grao("score", groups, tmp_path / "scores", "--reward", "gsm8k")
    assert result.exit_code == 1
    assert message in result.stderr
    assert open_table(groups, "groups").arrow().column("group_id")[0].as_py() in result.stderr


def test_an_empty_table_has_no_scores(tmp_path: Path) -> None:
    groups = tiny.write_table(tmp_path / "groups", "groups", [])
    summary = tiny.grao_json("score", groups, tmp_path / "scores", "--reward", "gsm8k")
    assert (summary["groups"], summary["mean_reward"]) == (0, None)
    assert scores_of(tmp_path / "scores") == []


def test_references_and_expected_answers_that_do_not_verify_are_counted_and_named(tmp_path: Path) -> None:
    rows = [
        tiny.group_row("right", ["#### 4", "#### 5"], reference="2 + 2\n#### 4", answer="4"),
        tiny.group_row("contradicts", ["#### 4", "#### 5"], reference="#### 5", answer="4"),
        tiny.group_row("unreadable", ["#### 4", "#### 5"], reference="#### 4", answer="4 or 5"),
        tiny.group_row("an object", ["#### 4", "#### 5"], reference="#### 4", answer={"value": 4}),
        tiny.group_row("no reference", ["#### 4", "#### 5"], reference=None, answer="4"),
    ]
    groups = tiny.write_table(tmp_path / "groups", "groups", rows)
    for _ in range(2):  # the second run counts what is there
        summary = tiny.grao_json("score", groups, tmp_path / "scores", "--reward", "gsm8k")
        assert (summary["references_rejected"], summary["expected_unreadable"]) == (1, 2)
        notes = [note for note in summary["notes"] if "group ID" in note]
        assert [note.split()[-1] for note in notes] == [f"{rows[1]['group_id']}.", f"{rows[2]['group_id']}."]
    length = tiny.grao_json("score", groups, tmp_path / "length", "--reward", "length", "--reward-arg", "target=9")
    assert (length["references_rejected"], length["expected_unreadable"]) == (0, 0)
