"""Â = (R − μ) / σ against exact rational arithmetic, group by group."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grao_pipeline.advantages.estimate import add_advantages, advantages_table, count_rewards
from grao_pipeline.advantages.estimators.base import Estimator, group_std
from grao_pipeline.advantages.estimators.grao import Grao
from grao_pipeline.advantages.flat_view import flat_view
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.advantages.recipe import Recipe, RecipeResult
from grao_pipeline.arguments import NoArguments
from grao_pipeline.errors import UsageError
from grao_pipeline.schemas import GROUPS, SCORES
from tests import tiny
from tests.tiers import examples

Rewards = list[float | None]
Group = tuple[Rewards, float | None]
"""The samples' rewards and the reference's; None = unscored."""

STATISTICS = ["samples_and_reference", "samples"]


def advantages_of(view: pl.DataFrame, recipe: Recipe) -> list[dict[str, Any]]:
    """The rows of the advantages table of a flat view."""
    result = RecipeResult()
    rows = add_advantages(count_rewards(view, recipe, result), recipe, result)
    first = np.flatnonzero(np.diff(rows["row"].to_numpy().astype(np.int64), prepend=-1))
    table = advantages_table(rows, rows["group_id"].gather(first))
    computed: list[dict[str, Any]] = table.to_pylist()
    return computed


def estimate(
    groups: list[Group], references: list[bool] | None = None, weights: dict[str, float] | None = None, **options: Any
) -> list[dict[str, Any]]:
    """The advantages rows of groups, through the flat view. With several weights, every reward is the same."""
    names = weights or {"r": 1.0}
    rows = [
        tiny.group_row(f"q{i}", ["x"] * len(rewards), "y" if references is None or references[i] else None)
        for i, (rewards, _) in enumerate(groups)
    ]
    scores = [
        {
            "group_id": row["group_id"],
            "rewards": rewards,
            "reference_reward": reference,
            "statuses": ["ok"] * len(rewards),
        }
        for row, (rewards, reference) in zip(rows, groups, strict=True)
    ]
    table = pa.Table.from_pylist(scores, schema=SCORES.arrow())
    view = flat_view(pa.Table.from_pylist(rows, schema=GROUPS.arrow()), dict.fromkeys(names, table))
    computed = advantages_of(view, Recipe(AdvantagesOptions(**options), names, Grao(NoArguments())))
    assert [row["group_id"] for row in computed] == [row["group_id"] for row in rows]
    return computed


def exact(rewards: Rewards, reference: float | None, statistics: str) -> tuple[Rewards, float | None, Any, Any]:
    """(Â of the samples, Â of the reference, μ, σ) from rationals: only σ's root is rounded."""
    counted = [r for r in rewards if r is not None]
    if statistics == "samples_and_reference" and reference is not None:
        counted = [*counted, reference]
    if not counted:
        return [None] * len(rewards), None, None, None
    mean = sum(map(Fraction, counted)) / len(counted)
    variance = sum((Fraction(r) - mean) ** 2 for r in counted) / len(counted)
    std = math.sqrt(variance)

    def advantage(reward: float | None) -> float | None:
        if reward is None or std == 0.0:
            return None if reward is None else 0.0
        return float((Fraction(reward) - mean) / Fraction(std))

    return [advantage(r) for r in rewards], advantage(reference), float(mean), std


def float32(value: float) -> float:
    return float(np.float32(value))


def near(value: float | None, slack: float = 0.0) -> Any:
    return None if value is None else pytest.approx(value, rel=2e-7, abs=slack)


awkward = st.sampled_from([0.1, 1 / 3, 1e30, -1.0, 0.0, 1.0, 0.7, 3e-7]).map(float32)
reward = st.none() | awkward | st.floats(-1e6, 1e6, width=32).filter(lambda x: x == 0.0 or abs(x) > 1e-6)
group = st.tuples(st.lists(reward, min_size=1, max_size=9), reward)


@pytest.mark.slow
@settings(max_examples=examples(150))
@given(st.lists(st.tuples(group, st.booleans()), min_size=1, max_size=5), st.sampled_from(STATISTICS), st.booleans())
@example([(([float32(0.1)] * 9, float32(0.1)), True)], "samples_and_reference", True)
@example([(([1.0], None), False), (([None], None), True)], "samples", False)
def test_advantages_are_those_of_exact_arithmetic(
    cases: list[tuple[Group, bool]], statistics: str, keep_zero_variance: bool
) -> None:
    groups, references = [group for group, _ in cases], [has for _, has in cases]
    computed = estimate(groups, references, statistics=statistics, keep_zero_variance=keep_zero_variance)
    for (rewards, reference), has, row in zip(groups, references, computed, strict=True):
        advantages, reference_advantage, mean, std = exact(rewards, reference if has else None, statistics)
        if std == 0.0 and not keep_zero_variance:
            advantages, reference_advantage = [None] * len(rewards), None
        assert row["rewards"] == rewards
        # float32 storage, and the float64 rounding of μ relative to the largest reward
        largest = max((abs(r) for r in [*rewards, reference] if r is not None), default=0.0)
        assert (row["reward_mean"], row["reward_std"]) == (near(mean, 1e-15 * largest), near(std))
        slack = 1e-6 + 1e-14 * largest / std if std else 0.0
        assert row["advantages"] == [near(value, slack) for value in advantages]
        assert row["reference_advantage"] == near(reference_advantage, slack)


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, 1e30, -1e-30, 3.3e38, 1e-45, 0.0])
@pytest.mark.parametrize("size", [1, 3, 7, 10, 64])
def test_equal_rewards_give_advantages_of_exactly_zero(value: float, size: int, statistics: str) -> None:
    value = float32(value)
    (unmasked,) = estimate([([value] * size, value)], statistics=statistics, keep_zero_variance=True)
    assert (unmasked["advantages"], unmasked["reference_advantage"], unmasked["reward_std"]) == ([0.0] * size, 0.0, 0.0)
    (masked,) = estimate([([value] * size, value)], statistics=statistics)
    assert (masked["advantages"], masked["reference_advantage"], masked["reward_std"]) == ([None] * size, None, 0.0)


@pytest.mark.parametrize(("value", "size"), [(0.1, 3), (0.7, 3), (1 / 3, 25), (0.3, 109)])
def test_a_rounded_mean_does_not_give_equal_rewards_a_spread(value: float, size: int) -> None:
    """An estimator may be given float64: (0.1 + 0.1 + 0.1) / 3 is not 0.1, and (R − μ) / σ would be ±1."""
    view = pl.DataFrame({"group_id": ["g"] * size, "source": ["sample"] * size, "reward": [value] * size})
    advantage = Grao(NoArguments()).over_group(view, statistics="samples")
    computed = view.select(group_std("samples").alias("std"), advantage.alias("advantage"))
    assert computed.to_dicts() == [{"std": 0.0, "advantage": 0.0}] * size


@pytest.mark.parametrize("weights", [{"a": 0.1, "b": 0.2}, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, {"a": -0.7}])
def test_equal_rewards_stay_equal_when_weighted(weights: dict[str, float]) -> None:
    (row,) = estimate([([float32(0.1)] * 7, float32(0.1))], weights=weights, keep_zero_variance=True)
    assert (row["advantages"], row["reference_advantage"]) == ([0.0] * 7, 0.0)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 9, 100])
def test_a_group_that_loses_throughout_learns_from_its_reference(size: int) -> None:
    """G samples of −1 and a reference of 0: μ = −G/(G+1), σ = √G/(G+1); so Â_y = √G and Â_i = −1/√G."""
    (row,) = estimate([([-1.0] * size, 0.0)])
    assert row["reference_advantage"] == pytest.approx(math.sqrt(size), rel=1e-6)
    assert row["advantages"] == pytest.approx([-1 / math.sqrt(size)] * size, rel=1e-6)
    assert row["reward_mean"] == pytest.approx(-size / (size + 1), rel=1e-6)
    assert row["reward_std"] == pytest.approx(math.sqrt(size) / (size + 1), rel=1e-6)


def test_equation_4_to_the_letter_by_hand() -> None:
    """Samples 1, 3: μ = 2, σ = 1 for any reference; Â = −1, 1, and Â_y = (5 − 2) / 1 = 3."""
    (row,) = estimate([([1.0, 3.0], 5.0)], statistics="samples")
    assert (row["advantages"], row["reference_advantage"]) == ([-1.0, 1.0], 3.0)
    assert (row["reward_mean"], row["reward_std"]) == (2.0, 1.0)
    (row,) = estimate([([1.0, None, 3.0], None)], statistics="samples")
    assert (row["advantages"], row["reference_advantage"]) == ([-1.0, None, 1.0], None)


def test_equal_samples_give_zero_although_the_reference_differs() -> None:
    (row,) = estimate([([-1.0, -1.0], 0.0)], statistics="samples", keep_zero_variance=True)
    assert (row["advantages"], row["reference_advantage"]) == ([0.0, 0.0], 0.0)


def test_one_sample_and_its_reference_are_plus_and_minus_one() -> None:
    """Rewards 0 and 4: μ = 2, σ = 2."""
    (row,) = estimate([([0.0], 4.0)])
    assert (row["advantages"], row["reference_advantage"]) == ([-1.0], 1.0)


def test_a_missing_reference_leaves_the_statistics_to_the_samples() -> None:
    (row,) = estimate([([1.0, 3.0], 100.0)], references=[False])
    assert (row["advantages"], row["reference_advantage"], row["reward_mean"]) == ([-1.0, 1.0], None, 2.0)


def test_unscored_sequences_have_no_advantage_and_do_not_count() -> None:
    rows = estimate([([None, 1.0, 3.0], None), ([None, None], 1.0), ([None], None)])
    assert [row["advantages"] for row in rows] == [[None, -1.0, 1.0], [None, None], [None]]
    assert [row["reference_advantage"] for row in rows] == [None] * 3
    assert [row["reward_std"] for row in rows] == [1.0, 0.0, None]
    assert [row["reward_mean"] for row in rows] == [2.0, 1.0, None]


@pytest.mark.slow
@settings(max_examples=examples(50))
@given(st.lists(st.floats(-100, 100, width=32).map(lambda x: float32(round(x, 3))), min_size=1, max_size=8))
def test_advantages_sum_to_zero_and_have_unit_variance(rewards: Rewards) -> None:
    (row,) = estimate([(rewards, 0.5)], keep_zero_variance=True)
    values = [*row["advantages"], row["reference_advantage"]]
    assert sum(values) == pytest.approx(0.0, abs=1e-5)
    assert math.fsum(v * v for v in values) / len(values) == pytest.approx(0.0 if row["reward_std"] == 0 else 1.0)


def test_a_floor_raises_the_references_advantage_alone() -> None:
    groups: list[Group] = [
        ([1.0, 3.0], 2.0),
        ([4.0, 4.0], 0.0),
        ([0.0, 0.0], 4.0),
        ([1.0, 1.0], 1.0),
        ([1.0, 2.0], None),
    ]
    plain, floored = estimate(groups), estimate(groups, reference_floor=0.0)
    assert [row["advantages"] for row in floored] == [row["advantages"] for row in plain]
    # (4, 4, 0): μ = 8/3, σ = √(32/9), so Â_y = −√2; (0, 0, 4) is its mirror image
    root = pytest.approx(math.sqrt(2))
    assert [row["reference_advantage"] for row in plain] == [0.0, pytest.approx(-math.sqrt(2)), root, None, None]
    assert [row["reference_advantage"] for row in floored] == [0.0, 0.0, root, None, None]
    (low,) = estimate([([4.0, 4.0], 0.0)], reference_floor=-1.0)
    assert low["reference_advantage"] == -1.0


def test_groups_do_not_influence_each_other() -> None:
    groups: list[Group] = [([1.0, 3.0], 2.0), ([7.0], 9.0), ([0.5, 0.25, 0.125], None)]
    assert [{**row, "group_id": ""} for row in estimate(groups)] == [
        {**estimate([one])[0], "group_id": ""} for one in groups
    ]


class BestOfGroup(Estimator):
    """1 for the best sequence of the group."""

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        reward = pl.col("reward")
        return pl.when(reward == reward.max().over("group_id")).then(1.0)


def test_a_users_estimator_decides_what_is_trained_on() -> None:
    row = tiny.group_row("q", ["a", "b"])
    score = {"group_id": row["group_id"], "rewards": [1.0, 5.0], "reference_reward": 0.0, "statuses": ["ok", "ok"]}
    view = flat_view(
        pa.Table.from_pylist([row], schema=GROUPS.arrow()), {"r": pa.Table.from_pylist([score], schema=SCORES.arrow())}
    )
    (computed,) = advantages_of(view, Recipe(AdvantagesOptions(), {"r": 1.0}, BestOfGroup(NoArguments())))
    assert (computed["advantages"], computed["reference_advantage"]) == ([None, 1.0], None)


def test_unknown_statistics_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(UsageError, match="'all': allowed are samples_and_reference and samples"):
        group_std("all")
