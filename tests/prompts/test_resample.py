"""`grao resample`: which prompts are sampled further, and by how much."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.prompts.options import ResampleOptions
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.prompts.test_curriculum import Row, prompts_table, write_history

# a has no success, b both, c only successes, d no score at all; e has no group.
REWARDS: dict[str, list[float | None]] = {"a": [0.0, 0.0], "b": [1.0, 0.0], "c": [1.0, 1.0], "d": [None, None]}


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    """The prompts, their groups and scores."""
    return [prompts_table(tmp_path, "abcde"), *write_history(tmp_path / "r0", REWARDS)]


def asked(out: Path) -> dict[str, int]:
    """New samples by the prompt's text."""
    rows: list[Row] = open_table(str(out), "prompts").arrow().to_pylist()
    return {row["messages"][0]["content"]: row["samples"] for row in rows}


def resample(tables: Sequence[str], out: Path, *options: Any) -> dict[str, Any]:
    return tiny.grao_json("resample", *tables, out, "--samples", 3, *options)


def test_groups_whose_rewards_are_all_equal_get_new_samples(tmp_path: Path, tables: list[str]) -> None:
    summary = resample(tables, tmp_path / "out")
    assert asked(tmp_path / "out") == {"a": 3, "b": 0, "c": 3, "d": 0}
    counts = ("groups", "with_signal", "without_signal", "unscored", "samples", "prompts", "new_samples")
    assert [summary[name] for name in counts] == [4, 1, 2, 1, 8, 2, 6]
    assert summary["notes"] == ["2 of 4 groups (50%) have no learning signal: 2 prompts get 3 new samples each."]


def test_until_success_a_solved_prompt_is_left_alone(tmp_path: Path, tables: list[str]) -> None:
    assert resample(tables, tmp_path / "out", "--until", "success")["with_signal"] == 2
    assert asked(tmp_path / "out") == {"a": 3, "b": 0, "c": 0, "d": 0}
    resample(tables, tmp_path / "hard", "--until", "success", "--success-threshold", 1.5)
    assert asked(tmp_path / "hard") == {"a": 3, "b": 3, "c": 3, "d": 0}


def test_other_prompts_take_the_place_of_those_without_a_signal(tmp_path: Path, tables: list[str]) -> None:
    """There is one other prompt, and two groups to replace; what was sampled stays in the table."""
    summary = resample(tables, tmp_path / "out", "--replace")
    assert asked(tmp_path / "out") == {"a": 0, "b": 0, "c": 0, "d": 0, "e": 3}
    assert (summary["prompts"], summary["prompts_left"]) == (1, 1)


@pytest.mark.parametrize(("most", "prompts"), [(8, 0), (10, 0), (11, 1), (13, 1), (14, 2), (99, 2)])
def test_new_samples_end_where_the_round_has_the_most(
    tmp_path: Path, tables: list[str], most: int, prompts: int
) -> None:
    """The groups have eight samples, and each prompt gets three."""
    summary = resample(tables, tmp_path / "out", "--most-samples", most)
    assert (summary["prompts"], summary["new_samples"], summary["prompts_left"]) == (prompts, 3 * prompts, 2 - prompts)
    assert sum(asked(tmp_path / "out").values()) == 3 * prompts


def test_after_the_last_attempt_nothing_is_asked_for(tmp_path: Path, tables: list[str]) -> None:
    summary = resample(tables, tmp_path / "out", "--attempt", 2, "--attempts", 2)
    assert (summary["prompts"], summary["without_signal"]) == (0, 2)
    assert summary["notes"] == ["2 of 4 groups (50%) have no learning signal: no prompt is sampled further."]


def test_another_number_of_attempts_keeps_what_the_first_ones_made() -> None:
    contents = [ResampleOptions(attempts=n, attempt=1).content() for n in (2, 3)]
    assert contents[0] == contents[1]
    assert ResampleOptions(attempts=1, attempt=1).content() != contents[0]


@pytest.mark.slow
def test_the_order_of_prompts_does_not_decide_which_are_taken(tmp_path: Path) -> None:
    choices = []
    for names in ("abcdefgh", "hgfedcba"):
        root = tmp_path / names
        tables = [prompts_table(root, names), *write_history(root, {name: [0.0, 0.0] for name in names})]
        resample(tables, root / "out", "--most-samples", 16 + 9)
        choices.append({name for name, samples in asked(root / "out").items() if samples})
    assert choices[0] == choices[1]
    assert len(choices[0]) == 3


@pytest.mark.slow
def test_the_groups_get_the_samples_that_are_asked_for(tmp_path: Path, tables: list[str], model: Path) -> None:
    """By hand, as a reader of the help does it: groups, then what is asked, then the extended groups."""
    sampling = ["--model", model, "--engine", "transformers", "--max-new-tokens", 2, "--temperature", 1]
    first, more = tmp_path / "first", tmp_path / "more"
    tiny.grao_json("generate", tables[0], first, "--samples", 2, *sampling)
    score = ["--reward", "length", "--reward-arg", "target=3"]
    tiny.grao_json("score", first, tmp_path / "scores", *score)
    resample([tables[0], str(first), str(tmp_path / "scores")], tmp_path / "asked")
    summary = tiny.grao_json("generate", tmp_path / "asked", more, "--extend", first, *sampling)
    wanted = asked(tmp_path / "asked")
    before, after = (open_table(str(place), "groups").arrow().to_pylist() for place in (first, more))
    assert [len(row["completions"]) for row in after] == [2 + n for n in wanted.values()]
    assert [row["completion_token_ids"][:2] for row in after] == [row["completion_token_ids"] for row in before]
    new = sum(len(ids) for row in after for ids in row["completion_token_ids"][2:])
    assert (summary["tokens_sampled"], summary["tokens_extended"]) == (new, summary["tokens"] - new)


def test_tables_that_do_not_belong_together_are_refused(tmp_path: Path, tables: list[str]) -> None:
    others = prompts_table(tmp_path / "others", "xy")
    refused = tiny.grao("resample", others, *tables[1:], tmp_path / "out", "--samples", 3)
    assert refused.exit_code == 1
    assert f"which {others} does not hold" in refused.output
    refused = tiny.grao("resample", *tables, tmp_path / "out")
    assert refused.exit_code == 2
    assert "--samples: this option is required." in refused.output
