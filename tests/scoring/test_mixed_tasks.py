"""Rewards that are meant for a part of the rows: `--when`, `--missing skip`, and functions that return None."""

from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.planning import check
from grao_pipeline.scoring.rewards.base import FakeReward, Judgement
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.storage.reader import open_table
from tests import tiny

ROWS = [
    tiny.group_row("2+2?", ["4", "5"], reference="#### 4", task="math", answer="4"),
    tiny.group_row("Say hi.", ["hi", "ho"], reference=None, task="chat", answer=None),
    tiny.group_row("Write f.", ["f", "g"], reference="def f(): pass", task="code", level=3, tests=["assert True"]),
]
NO = "not_applicable"


@pytest.fixture
def groups(tmp_path: Path) -> str:
    return tiny.write_table(tmp_path / "groups", "groups", ROWS)


def score(groups: str, out: Path, **options: Any) -> tuple[list[list[str]], FakeReward, list[dict[str, Any]]]:
    """(statuses, the reward, the rows) of scores by a fake reward that rewards the length."""
    reward = FakeReward()
    score_groups(groups, str(out), ScoreOptions(reward="fake", use_cache=False, **options), reward=reward)
    rows = open_table(str(out), "scores").arrow().to_pylist()
    return [row["statuses"] for row in rows], reward, rows


@pytest.mark.parametrize(
    ("condition", "applies"),
    [('task == "code"', [False, False, True]), ("answer", [True, False, False]), ("level >= 3", [False, False, True])],
)
def test_a_row_that_does_not_meet_the_condition_is_not_judged(
    groups: str, tmp_path: Path, condition: str, applies: list[bool]
) -> None:
    statuses, reward, rows = score(groups, tmp_path / "scores", when=condition)
    assert statuses == [["ok" if judged else NO] * 2 for judged in applies]
    assert [row["reference_reward"] is not None for row in rows] == applies
    assert reward.num_scored == 3  # two samples and a reference
    skipped = rows[applies.index(False)]
    assert (skipped["rewards"], skipped["details"]) == ([None, None], [f"not the case: {condition}"] * 2)


def test_missing_skip_is_for_rows_without_the_field_or_with_null(groups: str, tmp_path: Path) -> None:
    summary = tiny.grao_json("score", groups, tmp_path / "s", "--reward", "gsm8k", "--missing", "skip")
    rows = open_table(str(tmp_path / "s"), "scores").arrow().to_pylist()
    assert [row["statuses"] for row in rows] == [["ok", "ok"], [NO, NO], [NO, NO]]
    assert rows[2]["details"] == ["no 'answer' in the metadata"] * 2
    assert summary["statuses"] == {NO: 4, "ok": 2}


def test_missing_error_is_an_error_as_before(groups: str, tmp_path: Path) -> None:
    tiny.grao_json("score", groups, tmp_path / "s", "--reward", "gsm8k", "--no-use-cache")
    rows = open_table(str(tmp_path / "s"), "scores").arrow().to_pylist()
    assert [row["statuses"] for row in rows] == [["ok", "ok"], ["error", "error"], ["error", "error"]]


def test_skip_is_refused_where_the_reward_reads_no_field() -> None:
    with pytest.raises(UsageError, match="declares no field") as error:
        check(ScoreOptions(reward="length", reward_arg=["target=3"], missing="skip"))
    assert error.value.option == "missing"


def test_a_wrong_condition_is_refused_with_its_column(groups: str, tmp_path: Path) -> None:
    result = tiny.grao("score", groups, tmp_path / "s", "--reward", "gsm8k", "--when", 'task = "code"')
    assert result.exit_code == 2
    assert "--when: column 6: '=' has no meaning here; write == to compare" in result.output


def test_values_without_an_order_name_the_group(groups: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"Group {ROWS[0]['group_id']}: --when: column 1: 'math' > 3"):
        score(groups, tmp_path / "s", when="task > 3")


def test_none_of_a_function_means_not_applicable() -> None:
    assert Judgement.of(None).status == NO
    assert Judgement.of(float("nan")).status == "error"


def test_a_part_without_an_applicable_row_does_not_open_the_gate(tmp_path: Path) -> None:
    """The first part has none; the second fails throughout: nothing is written."""

    class Broken(FakeReward):
        def score(self, candidates: Any) -> list[Judgement]:
            return [Judgement(None, "error", "broken") for _ in candidates]

    groups = tiny.write_table(tmp_path / "groups", "groups", ROWS, rows_per_part=1)
    options = ScoreOptions(reward="fake", use_cache=False, when='task == "code"')
    with pytest.raises(Exception, match=r"failed on all 2 samples so far, e\.g\.: broken"):
        score_groups(groups, str(tmp_path / "s"), options, reward=Broken())
    assert not list(tmp_path.glob("s/*.parquet"))


def test_the_condition_is_part_of_the_fingerprint(groups: str, tmp_path: Path) -> None:
    first = tiny.grao_json("score", groups, tmp_path / "a", "--reward", "gsm8k", "--when", "answer")
    same = tiny.grao_json("score", groups, tmp_path / "b", "--reward", "gsm8k", "--when", " answer ")
    other = tiny.grao_json("score", groups, tmp_path / "c", "--reward", "gsm8k", "--when", "tests or answer")
    assert first["fingerprint"] == same["fingerprint"] != other["fingerprint"]


def test_both_tasks_of_a_mixed_table_are_trained_on(groups: str, tmp_path: Path) -> None:
    tiny.grao_json("score", groups, tmp_path / "m", "--reward", "gsm8k", "--missing", "skip")
    tiny.grao_json(
        "score", groups, tmp_path / "l", "--reward", "length", "--reward-arg", "target=1", "--name", "short",
        "--reward-arg", "unit=characters", "--when", 'task in ["code", "chat"]',
    )  # fmt: skip
    summary = tiny.grao_json(
        "advantages", groups, tmp_path / "a", "--scores", tmp_path / "m", "--scores", tmp_path / "l",
        "--keep-zero-variance",
    )  # fmt: skip
    assert (summary["trained_groups"], summary["trained_samples"], summary["unscored_samples"]) == (3, 6, 0)
    counts = {row["reward"]: (row["scored"], row["not_applicable"], row["unscored"]) for row in summary["rewards"]}
    assert counts == {"gsm8k": (2, 4, 0), "short": (4, 2, 0)}


@pytest.mark.parametrize(
    ("condition", "notes"),
    [
        ('taks == "code"', ["none of the first 3 groups has a field 'taks' in its metadata. Did you mean task?"]),
        ('taks != "code" and levl < 9', ["field 'taks'", "field 'levl' in its metadata. Did you mean level?"]),
        ("source.name", ["field 'source.name' in its metadata. There are: answer, level, task, tests."]),
        ('task == "code" and tests', []),
        ("not level", []),
    ],
)
def test_a_field_that_no_group_has_is_said(groups: str, tmp_path: Path, condition: str, notes: list[str]) -> None:
    summary = tiny.grao_json(
        "score", groups, tmp_path / "s", "--reward", "gsm8k", "--missing", "skip", "--when", condition
    )
    of_fields = [note for note in summary["notes"] if "has a field" in note]
    assert len(of_fields) == len(notes)
    for expected, note in zip(notes, of_fields, strict=True):
        assert expected in note
