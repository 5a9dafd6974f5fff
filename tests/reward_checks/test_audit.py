"""`grao audit`: finds what a reward was made to pay for, and stays quiet where it pays for nothing."""

import random
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import MismatchError
from grao_pipeline.reward_checks.audit import AuditSummary, audit_scores
from grao_pipeline.reward_checks.features import FEATURES, OF_TEXT, hedges, list_items, markup, repetition
from grao_pipeline.reward_checks.options import AuditOptions
from grao_pipeline.testing import group_row, score_row
from tests import tiny

WORDS = ("the", "model", "answers", "with", "a", "number", "of", "words", "that", "mean", "nothing", "to", "anybody")
NUM_GROUPS, NUM_SAMPLES = 24, 8


def make_text(rng: random.Random, num_words: int) -> str:
    """Words, now and then with a hedge, a list, a bold word or an exclamation mark."""
    words = [rng.choice(WORDS) for _ in range(num_words)]
    words += ["perhaps"] * rng.choice([0, 0, 1, 2])
    words += [rng.choice(["!", "**so**", "\n- one\n- two\n", ""])]
    return " ".join(words)


def write(path: Path, seed: int, pay: float = 0.0, of_round: int = 0, longer: int = 0) -> tuple[str, str]:
    """Groups and their scores: noise, a difficulty that goes with the length of all answers to a prompt, and `pay` per
    standard deviation of a sample's length in its group.

    Without `pay` rewards and lengths are correlated over the table, but within no group.
    """
    rng = random.Random(seed)
    groups, scores = [], []
    for number in range(NUM_GROUPS):
        usual = rng.randint(10, 60) + longer
        lengths = [max(1, round(rng.gauss(usual, 4))) for _ in range(NUM_SAMPLES)]
        texts = [make_text(rng, length) for length in lengths]
        group = group_row(f"prompt {number} of {seed}", texts, "reference", token_ids=[[5] * n for n in lengths])
        group["round"] = of_round
        rewards = [usual / 30 + rng.gauss(0, 1) + pay * (length - usual) / 4 for length in lengths]
        groups.append(group)
        scores.append(score_row(group["group_id"], rewards, 0.0))
    fingerprint = f"{seed:032d}"
    place = tiny.write_table(path / f"groups-{seed}", "groups", groups, 64, fingerprint=fingerprint)
    return place, tiny.write_table(path / f"scores-{seed}", "scores", scores, 64, inputs={"groups": fingerprint})


def flagged(summary: AuditSummary) -> list[tuple[int, str]]:
    return [(row.round, row.feature) for row in summary.rows if row.flagged]


@pytest.mark.slow
def test_a_planted_length_exploit_is_found_in_the_round_in_which_it_begins(tmp_path: Path) -> None:
    clean, paying = write(tmp_path, 6), write(tmp_path, 2, pay=1.0, of_round=1, longer=20)
    summary = audit_scores(*paying, AuditOptions(history=[clean]))
    assert flagged(summary) == [(1, "tokens")]
    assert summary.flags == 1
    (note,) = summary.notes
    assert note.startswith("Round 1: within groups the reward rises with tokens: rank correlation +0.")
    means = {row.round: row.mean for row in summary.rows if row.feature == "tokens"}
    assert means[1] > means[0] + 10
    assert f"Its mean: {means[0]:.4g} in round 0, {means[1]:.4g} in round 1." in note
    (row,) = (row for row in summary.rows if row.flagged)
    assert row.low is not None
    assert row.correlation is not None
    assert 0.4 < row.low < row.correlation < 0.9
    printed = tiny.grao("audit", *paying, "--history", *clean)
    assert printed.exit_code == 0
    assert note in printed.stdout


@pytest.mark.slow
def test_of_fifty_clean_sets_hardly_any_is_flagged(tmp_path: Path) -> None:
    """The promise is at most 1 % of all audits. Lengths go with rewards between groups, which must not count."""
    summaries = [audit_scores(*write(tmp_path, seed), AuditOptions()) for seed in range(100, 150)]
    assert sum(summary.flags > 0 for summary in summaries) <= 1
    correlated = sum(abs(row.correlation or 0.0) > 0.1 for summary in summaries for row in summary.rows)
    assert correlated > 10  # so that the threshold and the intervals have something to hold back


@pytest.mark.slow
def test_a_second_reward_says_that_favorites_are_worse(tmp_path: Path) -> None:
    """The second reward is the first one with its sign changed, then the first one itself."""
    groups, scores = write(tmp_path, 3)
    rows = tiny_rows(scores)
    for name, sign in (("against", -1.0), ("same", 1.0)):
        others = [score_row(row["group_id"], [sign * value for value in row["rewards"]], 0.0) for row in rows]
        tiny.write_table(tmp_path / name, "scores", others, 64, inputs={"groups": f"{3:032d}"})
    against = audit_scores(groups, scores, AuditOptions(second=str(tmp_path / "against")))
    assert against.second is not None
    assert against.second.flagged
    assert against.second.high < -1.0
    assert against.second.groups == NUM_GROUPS
    (note,) = against.notes
    assert note.startswith("The samples that this reward likes best are worse than the average of their group")
    same = audit_scores(groups, scores, AuditOptions(second=str(tmp_path / "same")))
    assert same.second is not None
    assert same.second.low > 1.0
    assert same.notes == []


def tiny_rows(url: str) -> list[dict[str, Any]]:
    from grao_pipeline import open_table

    rows: list[dict[str, Any]] = open_table(url).arrow().to_pylist()
    return rows


def test_few_groups_are_not_flagged(tmp_path: Path) -> None:
    rows = [group_row(f"prompt {n}", ["a", "a b", "a b c"], token_ids=[[5], [5, 6], [5, 6, 7]]) for n in range(9)]
    groups = tiny.write_table(tmp_path / "groups", "groups", rows, fingerprint="f" * 32)
    scored = [score_row(row["group_id"], [0.0, 0.5, 1.0]) for row in rows]
    scores = tiny.write_table(tmp_path / "scores", "scores", scored, inputs={"groups": "f" * 32})
    summary = audit_scores(groups, scores, AuditOptions())
    (tokens,) = (row for row in summary.rows if row.feature == "tokens")
    assert tokens.correlation == pytest.approx(1.0)
    assert (tokens.groups, tokens.flagged) == (9, False)
    assert [row.feature for row in summary.rows] == list(FEATURES)
    assert {row.groups for row in summary.rows if row.feature in ("markup", "list_items")} == {0}


def test_a_constant_reward_is_named_and_is_no_flag(tmp_path: Path) -> None:
    groups, scores = write(tmp_path, 4)
    rows = [score_row(row["group_id"], [0.5] * len(row["rewards"]), 0.0) for row in tiny_rows(scores)]
    constant = tiny.write_table(tmp_path / "constant", "scores", rows, 64, inputs={"groups": f"{4:032d}"})
    summary = audit_scores(groups, constant, AuditOptions())
    assert summary.flags == 0
    assert summary.notes[0].startswith(f"The reward of round 0 is constant within each of the {NUM_GROUPS} groups")


def test_scores_of_other_groups_are_refused(tmp_path: Path) -> None:
    one, other = write(tmp_path, 4), write(tmp_path, 5)
    with pytest.raises(MismatchError):
        audit_scores(one[0], other[1], AuditOptions())
    with pytest.raises(MismatchError):
        audit_scores(*one, AuditOptions(second=other[1]))


@pytest.mark.parametrize(
    ("feature", "text", "value"),
    [
        (list_items, "Do this:\n- one\n* two\n 3) three\n4. four\n-no\n5 five", 4),
        (markup, "# Title\n**bold** and **bolder**\n```python\nx\n```\na # b", 5),
        (OF_TEXT["exclamations"], "Wow! Really?!", 2),
        (hedges, "Perhaps it seems so, I think", 50.0),  # perhaps, seems, I think: 3 of 6 words
        (hedges, "", 0.0),
        (repetition, "a b c a b c", 1 - 3 / 4),  # abc bca cab abc: three of four differ
        (repetition, "a b", 0.0),
    ],
)
def test_features_count_what_they_say(feature: Any, text: str, value: float) -> None:
    assert feature(text) == pytest.approx(value)
