"""The combinations of rewards against numpy, group by group, and by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.advantages.combine import check_combination, combined_reward
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.errors import UsageError
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.tiers import examples

Sequences = list[tuple[float | None, ...]]
"""The rewards of every sequence of a group; the first sequence is the reference."""
NO = math.inf
"""In place of a reward that is not meant for the sequence."""


def combine(groups: list[Sequences], weights: dict[str, float], **options: Any) -> list[list[float | None]]:
    """The combined rewards of groups, through the options as the command has them."""
    parsed = AdvantagesOptions(**options)
    check_combination(parsed, weights)
    rows = [
        {"group_id": str(number), "source": "sample" if position else "reference"}
        | {f"reward.{name}": None if reward == NO else reward for name, reward in zip(weights, rewards, strict=True)}
        | {f"applies.{name}": reward != NO for name, reward in zip(weights, rewards, strict=True)}
        for number, group in enumerate(groups)
        for position, rewards in enumerate(group)
    ]
    schema: dict[str, Any] = {"group_id": pl.String, "source": pl.String} | {
        f"reward.{name}": pl.Float32 for name in weights
    }
    schema |= {f"applies.{name}": pl.Boolean for name in weights}
    view = pl.DataFrame(rows, schema=schema).with_columns(combined_reward(weights, parsed).alias("reward"))
    assert view.schema["reward"] == pl.Float32
    combined: list[list[float | None]] = (
        view.group_by("group_id", maintain_order=True).agg("reward")["reward"].to_list()
    )
    return combined


def test_only_the_rewards_that_apply_are_combined() -> None:
    """Each sequence as if there were no rewards but those that apply to it."""
    group: Sequences = [(1, NO, 6), (NO, NO, NO), (NO, 2, NO), (3, None, NO), (3, 4, None), (2, NO, NO)]
    weights = {"a": 1.0, "b": 2.0, "c": 0.5}
    assert combine([group], weights) == [[1 + 3, None, 4, None, None, 2]]
    assert combine([group], weights, combine="minimum") == [[1, None, 4, None, None, 2]]
    # of (1, 3): mean 2, deviation 1; of one reward: the reward
    penalized = combine([group], weights, combine="uncertainty", uncertainty_penalty=0.5)
    assert penalized == [[1.5, None, 4, None, None, 2]]
    # a: 1 and 2 of the complete sequences, μ 1.5, σ 0.5; b and c are constant
    assert combine([group], weights, combine="normalize") == [[-1, None, 0, None, None, 1]]


def test_a_gate_that_does_not_apply_is_passed() -> None:
    """Without format, 5 and −1 count as they are; failing it is worth the lowest of those that pass, −1, minus 1."""
    group: Sequences = [(NO, 5), (NO, -1), (1, 7), (0, 9), (NO, NO)]
    combined = combine([group], {"format": 1.0, "quality": 1.0}, combine="lexicographic", gate=["format=1"])
    assert combined == [[5, -1, 7, -2, None]]


def float32(value: float) -> float:
    return float(np.float32(value))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # a has μ = 1/2, σ = 1/2; b has μ = 25, σ = 15; weights 1 and 2.
        ({"combine": "normalize"}, [-1 - 2, -1 + 2, 1 - 2, 1 + 2]),
        # the smaller of a and 2b
        ({"combine": "minimum"}, [0, 0, 1, 1]),
        # of (0, 20), (0, 80), (1, 20), (1, 80): means 10, 40, 10.5, 40.5; deviations 10, 40, 9.5, 39.5
        ({"combine": "uncertainty", "uncertainty_penalty": 0.5}, [5, 20, 5.75, 20.75]),
        # a passes 1 or misses it by 1; passing are worth 2b = 20 and 80, so failing are worth 20 − 1
        ({"combine": "lexicographic", "gate": ["a=1"]}, [19, 19, 20, 80]),
        ({"combine": "sum"}, [20, 80, 21, 81]),
    ],
)
def test_each_combination_worked_by_hand(options: dict[str, Any], expected: list[float]) -> None:
    group: Sequences = [(0, 10), (0, 40), (1, 10), (1, 40)]
    # The second group shows that the statistics are per group.
    combined = combine([group, [(5, -3), (7, 9)]], {"a": 1.0, "b": 2.0}, **options)
    assert combined[0] == expected


def test_two_gates_make_three_floors() -> None:
    """format ≥ 1, then safety ≥ 0.5, then quality. Passing both: quality 7 and −2. Failing safety by 0.5 and 0.25:
    −2 − 2 · 0.5 and −2 − 2 · 0.25. The lowest that passes format is −3, so failing it by 1 or 4: −4 and −7.
    """
    weights = {"format": 1.0, "safety": 2.0, "quality": 1.0}
    group: Sequences = [(1, 0.5, 7), (2, 9, -2), (1, 0, 100), (1, 0.25, -100), (0, 1, 100), (-3, 1, 5)]
    combined = combine([group], weights, combine="lexicographic", gate=["format=1", "safety=0.5"])
    assert combined == [[7, -2, -3, -2.5, -4, -7]]


def test_where_no_sequence_passes_the_distance_to_the_gate_counts() -> None:
    combined = combine([[(0, 5), (0, 9), (0.5, 1)]], {"a": 2.0, "b": 1.0}, combine="lexicographic", gate=["a=1"])
    assert combined == [[-2, -2, -1]]


def test_the_statistics_of_normalize_are_those_of_the_estimator() -> None:
    """Over the samples 1 and 3 alone, μ = 2 and σ = 1; the reference, 8, stands 6 above."""
    combined = combine([[(8,), (1,), (3,)]], {"a": 1.0}, combine="normalize", statistics="samples")
    assert combined == [[6, -1, 1]]


KINDS: list[dict[str, Any]] = [
    {"combine": "normalize"},
    {"combine": "normalize", "statistics": "samples"},
    {"combine": "minimum"},
    {"combine": "uncertainty", "uncertainty_penalty": 1.5},
    {"combine": "lexicographic", "gate": ["a=0.25"]},
    {"combine": "lexicographic", "gate": ["a=0.25", "b=-1"]},
    {"combine": "sum"},
]
WEIGHTS = {"a": 0.7, "b": 1.3, "c": 0.25}
reward = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 1.0, -1.0]), st.floats(-100, 100, width=16))
sequences = st.lists(st.tuples(reward, reward, reward), min_size=1, max_size=7)


def oracle(group: Sequences, options: dict[str, Any]) -> list[float | None]:
    """The combined rewards of one group in numpy's float64, from the formulas; rows without a reward are left out."""
    rows = [index for index, rewards in enumerate(group) if None not in rewards]
    combined: list[float | None] = [None] * len(group)
    if not rows:
        return combined
    raw = np.array([group[index] for index in rows], dtype=np.float64)  # [S, K]
    weights = np.array(list(WEIGHTS.values()))
    kind = options["combine"]
    if kind == "sum":
        values = raw @ weights
    elif kind == "minimum":
        values = (raw * weights).min(axis=1)
    elif kind == "uncertainty":
        values = (raw * weights).mean(axis=1) - options["uncertainty_penalty"] * (raw * weights).std(axis=1)
    elif kind == "normalize":
        counted = [position for position, row in enumerate(rows) if options.get("statistics") != "samples" or row > 0]
        if not counted:
            return combined
        values = np.zeros(len(rows))
        for column in range(raw.shape[1]):
            rewards = raw[counted, column]
            if len(set(rewards)) > 1:
                values += weights[column] * (raw[:, column] - rewards.mean()) / rewards.std()
    else:
        gates = [float(gate.partition("=")[2]) for gate in options["gate"]]
        values = raw[:, len(gates) :] @ weights[len(gates) :]
        passed = [int(np.argmin([*(row[: len(gates)] >= gates), False])) for row in raw]
        for gate in reversed(range(len(gates))):
            above = [values[row] for row in range(len(rows)) if passed[row] > gate]
            lowest = min(above, default=0.0)
            for row in range(len(rows)):
                if passed[row] == gate:
                    values[row] = lowest - weights[gate] * (gates[gate] - raw[row, gate])
    for row, value in zip(rows, values, strict=True):
        combined[row] = float(value)
    return combined


@pytest.mark.slow
@pytest.mark.parametrize("options", KINDS, ids=str)
@settings(max_examples=examples(60))
@given(st.lists(sequences, min_size=1, max_size=3))
def test_groups_of_any_size_agree_with_numpy(options: dict[str, Any], groups: list[Sequences]) -> None:
    for group, combined in zip(groups, combine(groups, WEIGHTS, **options), strict=True):
        for actual, wanted in zip(combined, oracle(group, options), strict=True):
            assert (actual is None) == (wanted is None)
            if actual is not None and wanted is not None:
                assert actual == pytest.approx(wanted, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("options", KINDS, ids=str)
@settings(max_examples=examples(30))
@given(st.tuples(*[st.floats(-(2.0**60), 2.0**60, width=32)] * 3), st.integers(2, 9))
def test_equal_rewards_are_equal_afterwards_to_the_last_bit(
    options: dict[str, Any], rewards: tuple[float, ...], size: int
) -> None:
    (combined,) = combine([[rewards] * size], WEIGHTS, **options)
    assert len(set(combined)) == 1
    if options["combine"] == "normalize":
        assert combined[0] == 0.0


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.floats(-1e6, 1e6, width=32),
            st.floats(-(2.0**100), 2.0**100, width=32),
            st.floats(-(2.0**100), 2.0**100, width=32),
        ),
        min_size=2,
        max_size=8,
    )
)
def test_a_failed_gate_is_strictly_below_a_passed_one(group: Sequences) -> None:
    (combined,) = combine([group], WEIGHTS, combine="lexicographic", gate=["a=0.25", "b=-1"])
    values = [-math.inf if value is None else value for value in combined]
    passed = [0 if a < 0.25 else 1 if b < -1 else 2 for a, b, _ in group]  # type: ignore[operator]
    for better, high in zip(passed, values, strict=True):
        for worse, low in zip(passed, values, strict=True):
            assert not (better > worse and high <= low)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_a_sequence_that_lacks_a_reward_counts_nowhere(options: dict[str, Any]) -> None:
    whole: Sequences = [(1, 2, 3), (0, 5, 4), (0.25, -2, 1)]
    (without,) = combine([whole], WEIGHTS, **options)
    (combined,) = combine([[*whole, (None, 50, 60), (-70, None, -80), (9, 9, None)]], WEIGHTS, **options)
    assert combined == [*without, None, None, None]


@pytest.mark.parametrize(
    ("options", "weights", "message"),
    [
        ({"gate": ["a=1"]}, {"a": 1, "b": 1}, "gate: only --combine lexicographic has gates, not 'sum'"),
        (
            {"uncertainty_penalty": 1},
            {"a": 1, "b": 1},
            "uncertainty_penalty: only --combine uncertainty has a penalty, not 'sum'",
        ),
        ({"combine": "uncertainty"}, {"a": 1, "b": 1}, "combination 'uncertainty' needs penalty="),
        ({"combine": "minimum"}, {"a": 1}, r"combine: 'minimum' combines several rewards; there is only one \(a\)"),
        ({"combine": "minimum"}, {"a": 1, "b": 0}, "reward 'b', whose weight is 0"),
        ({"combine": "lexicographic"}, {"a": 1, "b": 1}, "needs a --gate NAME=THRESHOLD"),
        ({"combine": "lexicographic", "gate": ["c=1"]}, {"a": 1, "b": 1}, "gate: unknown reward 'c'.*: a, b"),
        ({"combine": "lexicographic", "gate": ["b=1"]}, {"a": 1, "b": 1}, "gate: b: gated rewards come first"),
        ({"combine": "lexicographic", "gate": ["b=1", "a=1"]}, {"a": 1, "b": 1, "c": 1}, "in the order of their"),
        ({"combine": "lexicographic", "gate": ["a=1", "b=1"]}, {"a": 1, "b": 1}, "at least one reward without a gate"),
        ({"combine": "lexicographic", "gate": ["a=1"]}, {"a": -1, "b": 1}, "gate: reward 'a' has weight -1"),
        ({"combine": "lexicographic", "gate": ["a=high"]}, {"a": 1, "b": 1}, "gate: a=high: the threshold 'high'"),
        ({"combine": "lexicographic", "gate": ["a=nan"]}, {"a": 1, "b": 1}, "the threshold 'nan' is not a number"),
        ({"combine": "lexicographic", "gate": ["a"]}, {"a": 1, "b": 1}, "gate: 'a': expected key=value"),
        ({"combine": "lexicographic", "gate": ["a=1", "a=2"]}, {"a": 1, "b": 1}, "reward 'a' already has a gate"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(
    options: dict[str, Any], weights: dict[str, float], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_combination(AdvantagesOptions(**options), weights)


@pytest.fixture
def tables(tmp_path: Path) -> tuple[str, str, str]:
    """Groups, and scores named a and b: sample rewards (0, 10), (1, 20), reference (1, 40)."""
    group = tiny.group_row("q", ["x", "y"], "z")
    groups = tiny.write_table(tmp_path / "groups", "groups", [group], fingerprint="a" * 32)
    scores_urls: list[str] = []
    for name, rewards, reference in (("a", [0.0, 1.0], 1.0), ("b", [10.0, 20.0], 40.0)):
        row = {"group_id": group["group_id"], "rewards": rewards, "reference_reward": reference, "statuses": ["ok"] * 2}
        url = tiny.write_table(tmp_path / name, "scores", [row], inputs={"groups": "a" * 32}, options={"name": name})
        scores_urls.append(url)
    return groups, scores_urls[0], scores_urls[1]


def test_the_command_combines_and_refuses_another_combination(tables: tuple[str, str, str], tmp_path: Path) -> None:
    groups, a, b = tables
    arguments = ["advantages", groups, tmp_path / "out", "--scores", a, "--scores", b]
    gated = ["--combine", "lexicographic", "--gate", "a=1"]
    first = tiny.grao_json(*arguments, *gated)
    assert open_table(str(tmp_path / "out")).arrow().column("rewards").to_pylist() == [[19.0, 20.0]]
    assert tiny.grao_json(*arguments, *gated) == {**first, "parts_made": 0, "parts_found": 1}
    other = tiny.grao(*arguments, "--combine", "lexicographic", "--gate", "a=0.5")
    assert other.exit_code == 1
    assert "gate was ['a=1'] and is now ['a=0.5']" in other.stderr
    wrong = tiny.grao(*arguments, "--combine", "minimum", "--gate", "a=1")
    assert (wrong.exit_code, "--gate: only --combine lexicographic has gates" in wrong.stderr) == (2, True)
