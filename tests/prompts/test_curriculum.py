"""The next round's prompts: probabilities against numbers worked by hand, and the table that is written."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grao_pipeline.prompts.curriculum import curriculum_provenance, weigh
from grao_pipeline.prompts.draw import draw, probabilities
from grao_pipeline.prompts.options import CurriculumOptions
from grao_pipeline.storage.reader import open_table
from tests import tiny

Row = dict[str, Any]
NAMES = "abcdef"
# Variances of these rewards: 1/4, 0, 3/16, 0 and 0; f is unseen.
REWARDS: dict[str, list[float | None]] = {
    "a": [0.0, 0.0, 1.0, 1.0],
    "b": [0.1, 0.1, 0.1, 0.1],
    "c": [1.0, 0.0, 0.0, None, 0.0],
    "d": [1.0, 1.0, 1.0, 1.0],
    "e": [0.0, 0.0, 0.0, 0.0],
}
VARIANCES = {"a": 0.25, "b": 0.0, "c": 0.1875, "d": 0.0, "e": 0.0}


def write_history(
    root: Path, rewards: dict[str, list[float | None]], number: int = 0, rows_per_part: int = 2
) -> list[str]:
    """Groups and scores of a round with these rewards."""
    groups = [tiny.group_row(name, ["x"] * len(values), None) | {"round": number} for name, values in rewards.items()]
    scores = [
        {
            "group_id": group["group_id"],
            "rewards": values,
            "reference_reward": None,
            "statuses": ["ok" if value is not None else "error" for value in values],
            "details": None,
        }
        for group, values in zip(groups, rewards.values(), strict=True)
    ]
    return [
        tiny.write_table(root / "groups", "groups", groups, rows_per_part),
        tiny.write_table(root / "scores", "scores", scores, rows_per_part),
    ]


def prompts_table(root: Path, names: str = NAMES, rows_per_part: int = 4) -> str:
    return tiny.write_table(root / "prompts", "prompts", [tiny.prompt_row(name) for name in names], rows_per_part)


def chosen(out: Path) -> str:
    rows = open_table(str(out), "prompts").arrow().to_pylist()
    return "".join(row["messages"][0]["content"] for row in rows)


@pytest.fixture
def history(tmp_path: Path) -> list[str]:
    return write_history(tmp_path / "r0", REWARDS)


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    return prompts_table(tmp_path)


def weights(statistics: dict[str, tuple[float, float]], **options: Any) -> dict[str, float | None]:
    """Probability by prompt of NAMES."""
    rows = [{"prompt_id": name, "mean": m, "variance": v, "round": 0} for name, (m, v) in statistics.items()]
    schema = {"prompt_id": pl.String, "mean": pl.Float64, "variance": pl.Float64, "round": pl.Int32}
    candidates = weigh(list(NAMES), pl.DataFrame(rows, schema=schema), CurriculumOptions(**options))
    return dict(zip(candidates["prompt_id"].to_list(), candidates["probability"].to_list(), strict=True))


def test_probabilities_are_those_worked_by_hand() -> None:
    # u/N = 0.2/4 = 0.05; 0.8 · v / 8.
    assert probabilities([1.0, 0.0, 3.0, 4.0], 0.2) == pytest.approx([0.15, 0.05, 0.35, 0.45])
    assert probabilities([1.0, 0.0, 3.0, 4.0], 0.0) == pytest.approx([0.125, 0.0, 0.375, 0.5])
    assert probabilities([1.0, 3.0], 1.0) == [0.5, 0.5]
    assert probabilities([0.0, 0.0], 0.5) == [0.5, 0.5]
    assert probabilities([0.0, 0.0], 0.0) == [0.0, 0.0]
    assert probabilities([], 0.2) == []


def test_retired_prompts_have_no_chance_and_unseen_ones_the_mean_variance() -> None:
    seen = {"a": (0.5, 0.3), "b": (1.0, 0.0), "c": (0.25, 0.1), "d": (0.0, 0.2), "e": (-1.0, 0.0)}
    # b is solved. The mean variance of a, c, d and e is 0.6 / 4 = 0.15, which f gets too: the sum is 0.75.
    probability = weights(seen, uniform_mix=0.0)
    assert probability["b"] is None
    rest = {name: value for name, value in probability.items() if name != "b"}
    assert rest == pytest.approx({"a": 0.4, "c": 2 / 15, "d": 4 / 15, "e": 0.0, "f": 0.2})
    # Without e, the mean is 0.2 and the sum 0.8. Half of the chance is the same for the four that remain.
    probability = weights(seen, uniform_mix=0.5, retire_below=-1.0)
    assert (probability["b"], probability["e"]) == (None, None)
    rest = {name: value for name, value in probability.items() if value is not None}
    assert rest == pytest.approx({"a": 0.3125, "c": 0.1875, "d": 0.25, "f": 0.25})


def test_prompts_without_history_have_equal_chances() -> None:
    assert weights({}, uniform_mix=0.0) == pytest.approx(dict.fromkeys(NAMES, 1 / 6))


def test_first_draws_and_pairs_are_as_frequent_as_their_probabilities() -> None:
    """And pairs: p_i p_j (1/(1 − p_i) + 1/(1 − p_j)). A binomial of n draws is within 4.5 √(n p (1 − p)) of n p."""
    chances = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4, "e": 0.0}
    n = 4000
    drawn = [draw(list(chances), list(chances.values()), 2, [seed]) for seed in range(n)]
    firsts, pairs = Counter(first for first, _ in drawn), Counter(frozenset(pair) for pair in drawn)
    expected: dict[Any, float] = dict(chances)
    for i in "abcd":
        for j in "abcd":
            if i < j:
                p, q = chances[i], chances[j]
                expected[frozenset((i, j))] = p * q * (1 / (1 - p) + 1 / (1 - q))
    assert sum(p for pair, p in expected.items() if isinstance(pair, frozenset)) == pytest.approx(1.0)
    for event, p in expected.items():
        count = firsts[event] if isinstance(event, str) else pairs[event]
        assert abs(count - n * p) <= 4.5 * math.sqrt(n * p * (1 - p)), event


def test_a_draw_depends_neither_on_order_nor_on_number() -> None:
    ids = [str(n) for n in range(50)]
    chances = [(n % 7) / 147 for n in range(50)]
    ten = draw(ids, chances, 10, [3, 1])
    assert draw(ids[::-1], chances[::-1], 10, [3, 1]) == ten
    assert draw(ids, chances, 20, [3, 1])[:10] == ten
    assert draw(ids, chances, 10, [4, 1]) != ten
    assert draw(ids, chances, 10, [3, 2]) != ten
    assert set(draw(ids, chances, 50, [0])) == {name for name, p in zip(ids, chances, strict=True) if p > 0}


def test_by_default_all_prompts_that_are_not_retired_are_chosen(
    tmp_path: Path, prompts: str, history: list[str]
) -> None:
    summary = tiny.grao_json("curriculum", prompts, tmp_path / "out", "--history", *history)
    assert chosen(tmp_path / "out") == "abcef"  # d is solved
    rows = {row["prompt_id"]: row for row in open_table(prompts).arrow().to_pylist()}
    assert all(row == rows[row["prompt_id"]] for row in open_table(str(tmp_path / "out")).arrow().to_pylist())
    counts = {name: summary[name] for name in ("prompts", "seen", "unseen", "retired_solved", "retired_hopeless")}
    assert counts == {"prompts": 6, "seen": 5, "unseen": 1, "retired_solved": 1, "retired_hopeless": 0}
    assert (summary["chosen"], summary["chosen_unseen"]) == (5, 1)
    # The sum 7/16 over five prompts; over a, b, c and e it is 7/64, which f gets too.
    assert summary["mean_variance"] == pytest.approx(0.0875)
    assert summary["mean_variance_remaining"] == pytest.approx(7 / 64)
    assert summary["mean_variance_chosen"] == pytest.approx(7 / 64)


def test_without_a_uniform_share_equal_rewards_are_never_chosen(
    tmp_path: Path, prompts: str, history: list[str]
) -> None:
    """Not even the rewards of 0.1, whose mean is rounded; the unseen prompt may be chosen."""
    options = ["--history", *history, "--uniform-mix", 0, "--fraction", 1]
    result = tiny.grao("curriculum", prompts, tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert "3 prompts are chosen instead of 5" in result.stderr
    assert chosen(tmp_path / "out") == "acf"
    summary = tiny.grao_json("curriculum", prompts, tmp_path / "two", *options[:-2], "--num-prompts", 2)
    assert summary["chosen"] == 2
    assert set(chosen(tmp_path / "two")) < set("acf")
    of_two = [{"a": 0.25, "c": 0.1875, "f": 7 / 64}[name] for name in chosen(tmp_path / "two")]
    assert summary["mean_variance_chosen"] == pytest.approx(sum(of_two) / 2)


@pytest.mark.slow
def test_the_last_round_that_scored_a_prompt_counts(tmp_path: Path, prompts: str, history: list[str]) -> None:
    """In round 1, a is solved, d is no longer solved, and no sample of c could be scored."""
    later = write_history(tmp_path / "r1", {"a": [1.0, 1.0], "d": [0.0, 1.0], "c": [None, None]}, number=1)
    options = ["--uniform-mix", 0, "--retire-below", 0.1]
    out = tmp_path / "out"
    summary = tiny.grao_json("curriculum", prompts, out, "--history", *history, "--history", *later, *options)
    assert (summary["retired_solved"], summary["retired_hopeless"]) == (1, 1)  # a; e. b's mean is above 0.1 in float32
    assert chosen(out) == "cdf"
    # In the other order, round 0 counts: a and c have different rewards, d is solved.
    tiny.grao_json("curriculum", prompts, tmp_path / "b", "--history", *later, "--history", *history, *options)
    assert chosen(tmp_path / "b") == "acf"


def test_the_combined_reward_of_an_advantages_table_counts(tmp_path: Path, prompts: str, history: list[str]) -> None:
    combined = tmp_path / "advantages"
    tiny.grao_json("advantages", history[0], combined, "--scores", f"{history[1]}=0.5")
    options = ["--history", history[0], combined, "--retire-above", 0.5]
    summary = tiny.grao_json("curriculum", prompts, tmp_path / "out", *options)
    # Half of every reward: a quarter of every variance; d's mean is 0.5.
    assert summary["mean_variance"] == pytest.approx(0.0875 / 4)
    assert chosen(tmp_path / "out") == "abcef"


def test_scores_of_other_software_are_matched_by_group_id(tmp_path: Path, prompts: str, history: list[str]) -> None:
    rows = open_table(history[1]).arrow()
    file = tmp_path / "scores.parquet"
    pq.write_table(rows.take(list(range(rows.num_rows))[::-1]).select(["group_id", "rewards", "statuses"]), file)
    for out, scores in (("ours", history[1]), ("theirs", str(file))):
        tiny.grao_json("curriculum", prompts, tmp_path / out, "--history", history[0], scores, "--num-prompts", 3)
    assert chosen(tmp_path / "ours") == chosen(tmp_path / "theirs")


@pytest.mark.slow
def test_the_choice_does_not_depend_on_how_tables_are_cut(tmp_path: Path) -> None:
    names = [f"prompt {n}" for n in range(40)]
    rewards: dict[str, list[float | None]] = {name: [0.0, n / 40, 0.5] for n, name in enumerate(names)}
    choices = []
    for size in (1, 7, 40):
        root = tmp_path / str(size)
        table = tiny.write_table(root / "prompts", "prompts", [tiny.prompt_row(name) for name in names], size)
        history = write_history(root, rewards, rows_per_part=size)
        tiny.grao_json("curriculum", table, root / "out", "--history", *history, "--num-prompts", 11, "--seed", 4)
        choices.append(chosen(root / "out"))
    assert choices[0] == choices[1] == choices[2]
    tiny.grao_json("curriculum", table, root / "other", "--history", *history, "--num-prompts", 11, "--seed", 5)
    assert chosen(root / "other") != choices[2]


def test_the_same_command_again_changes_nothing_and_another_one_is_refused(
    tmp_path: Path, prompts: str, history: list[str]
) -> None:
    command = ["curriculum", prompts, tmp_path / "out", "--history", *history, "--num-prompts", 3]
    first = tiny.grao_json(*command)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert tiny.grao_json(*command) == first
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    refused = tiny.grao(*command, "--seed", 1)
    assert refused.exit_code == 1
    assert "seed was 0 and is now 1" in refused.output
    fingerprints = [(open_table(history[0]).fingerprint, open_table(history[1]).fingerprint)]
    provenance = curriculum_provenance(CurriculumOptions(num_prompts=3), open_table(prompts).fingerprint, fingerprints)
    assert provenance.fingerprint == first["fingerprint"] == open_table(str(tmp_path / "out")).fingerprint


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (["--num-prompts", 2, "--fraction", 0.5], "give --num-prompts or --fraction, not both", 2),
        (["--retire-below", 1], "--retire-below 1 must be less than --retire-above 1", 2),
        (["--uniform-mix", 2], "--uniform-mix", 2),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path, prompts: str, history: list[str], options: list[object], message: str, code: int
) -> None:
    refused = tiny.grao("curriculum", prompts, tmp_path / "out", "--history", *history, *options)
    assert refused.exit_code == code
    assert message in refused.output


def test_an_empty_choice_is_an_error(tmp_path: Path, history: list[str]) -> None:
    seen = prompts_table(tmp_path / "seen", "abcde")
    refused = tiny.grao("curriculum", seen, tmp_path / "out", "--history", *history, "--retire-above", 0)
    assert refused.exit_code == 1
    assert "all 5 prompts are retired" in refused.output
    flat = prompts_table(tmp_path / "flat", "be")
    refused = tiny.grao("curriculum", flat, tmp_path / "out", "--history", *history, "--uniform-mix", 0)
    assert refused.exit_code == 1
    assert "every prompt's priority is 0" in refused.output
    assert not (tmp_path / "out").exists()


def test_a_history_of_other_groups_is_refused(tmp_path: Path, prompts: str, history: list[str]) -> None:
    other = tiny.write_table(
        tmp_path / "other", "scores", open_table(history[1]).arrow().to_pylist(), inputs={"groups": "0" * 32}
    )
    refused = tiny.grao("curriculum", prompts, tmp_path / "out", "--history", history[0], other)
    assert refused.exit_code == 1
    assert "holds the scores of groups " + "0" * 32 in refused.output
    refused = tiny.grao("curriculum", prompts, tmp_path / "out")
    assert refused.exit_code == 2
    assert "--history: give the groups and the scores" in refused.output


def test_rewards_of_another_number_than_the_samples_are_refused(tmp_path: Path, prompts: str) -> None:
    """As other software may write them."""
    groups, scores = write_history(tmp_path / "r0", REWARDS, rows_per_part=9)
    table = open_table(scores, "scores").arrow()
    rows = table.to_pylist()
    rows[1] = {**rows[1], "rewards": [0.1], "statuses": ["ok"]}
    other = tmp_path / "other"
    other.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), other / "rewards.parquet")
    result = tiny.grao("curriculum", prompts, tmp_path / "out", "--history", groups, other)
    assert result.exit_code == 1
    assert f"Scores '{other}' hold 1 rewards for group {rows[1]['group_id']}, which has 4 samples" in result.stderr
