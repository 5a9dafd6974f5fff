"""Every estimator against numpy, group by group, and against lines of TRL's source."""

import ast
import math
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from grao_pipeline.advantages.estimators import ESTIMATORS
from grao_pipeline.errors import UsageError
from tests.advantages.common import Group, compute
from tests.tiers import examples

Array = np.ndarray
STATISTICS = ["samples_and_reference", "samples"]


def float32(value: float) -> float:
    return float(np.float32(value))


def of_one(name: str, value: float, counted: Array, others: Array) -> float:
    """The advantage of one sequence, from the formula of its estimator.

    Args:
        counted: the rewards that count in the statistics. others: the same without the sequence itself.
    """
    mean, std, n = counted.mean(), counted.std(), len(counted)
    if len(set(counted)) == 1:
        mean, std = counted[0], 0.0
    match name:
        case "grao":
            return 0.0 if std == 0 else (value - mean) / std
        case "grpo":
            return 0.0 if std == 0 else (value - mean) / (counted.std(ddof=1) + 1e-4)
        case "dr-grpo":
            return float(value - mean)
        case "rloo":
            return float(value - others.mean()) if len(others) else 0.0
        case "max-rl":
            return 0.0 if mean == 0 else (value - mean) / mean
        case "opmd":
            return float(value - mean) / 2
        case "asymre":
            return float(value - mean) + 0.1
        case "rank":
            return float(np.sign(value - others).mean()) if len(others) else 0.0
    raise AssertionError(f"{name}, n = {n}")


def oracle(name: str, group: Group, statistics: str) -> tuple[list[float | None], float | None]:
    assert not isinstance(group.rewards, dict)
    rewards, reference = list(group.rewards), group.reference if group.has_reference else None
    scored = np.array([r for r in rewards if r is not None], dtype=np.float64)
    if name == "sft":
        return [None] * len(rewards), 1.0 if group.has_reference else None
    if name == "best-of-n":
        best = int(np.argmax([-math.inf if r is None else r for r in rewards]))
        return [1.0 if i == best and len(scored) else None for i in range(len(rewards))], None
    assert not isinstance(reference, dict)
    with_reference = statistics == "samples_and_reference" and reference is not None
    counted = np.append(scored, reference or 0.0) if with_reference else scored
    if not len(counted):  # rank says 0 where there is nothing to compare with
        return [None] * len(rewards), 0.0 if name == "rank" and reference is not None else None

    def without(value: float) -> Array:
        return np.delete(counted, int(np.flatnonzero(counted == value)[0]))

    samples = [None if r is None else of_one(name, r, counted, without(r)) for r in rewards]
    if reference is None:
        return samples, None
    return samples, of_one(name, reference, counted, without(reference) if with_reference else counted)


def near(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, rel=1e-6, abs=1e-6)


reward = st.none() | st.sampled_from([0.0, 1.0, 0.5, 0.1]).map(float32) | st.integers(0, 40).map(lambda n: n / 8)
groups = st.builds(
    Group,
    rewards=st.lists(reward, min_size=1, max_size=9),
    reference=reward,
    has_reference=st.booleans(),
)
BY_HAND = {"copo", "gtpo", "hardness-scaled", "red", "signed-by"}
"""Those of `test_method_estimators.py`."""
BY_GROUP = sorted(set(ESTIMATORS) - BY_HAND - {"gdpo", "reinforce++-baseline"})


@pytest.mark.slow
@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("name", BY_GROUP)
@settings(max_examples=examples(15))
@given(test_groups=st.lists(groups, min_size=1, max_size=5))
def test_every_estimator_agrees_with_numpy(name: str, statistics: str, test_groups: list[Group]) -> None:
    """Nulls, unequal sizes, single samples, ties, with and without reference."""
    assume(any(value is not None for group in test_groups for value in group.rewards))  # else a refusal
    with tempfile.TemporaryDirectory() as place:
        computed, _ = compute(
            Path(place), test_groups, 2, estimator=name, statistics=statistics, keep_zero_variance=True
        )
    for group, row in zip(test_groups, computed, strict=True):
        samples, reference = oracle(name, group, statistics)
        assert row == ([near(value) for value in samples], near(reference)), group


def table_deviations(test_groups: list[Group], statistics: str, names: list[str], weights: list[float]) -> list[Array]:
    """Per group Σ_k w_k (R_k − μ_k) / σ_k of several rewards, or R − μ of one reward; the reference first."""
    deviations = []
    for group in test_groups:
        total = np.zeros(1 + len(next(iter(group.rewards.values()))))  # type: ignore[union-attr]
        for name, weight in zip(names, weights, strict=True):
            values = np.array([group.reference[name], *group.rewards[name]], dtype=np.float64)  # type: ignore[index, call-overload]
            counted = values if statistics == "samples_and_reference" else values[1:]
            mean = counted[0] if len(set(counted)) == 1 else counted.mean()
            scale = 1.0 if len(names) == 1 else counted.std()
            if len(set(counted)) > 1:
                total += weight * (values - mean) / scale
            elif len(names) == 1:
                total += values - mean
        deviations.append(total)
    return deviations


@pytest.mark.slow
@pytest.mark.parametrize("rows_per_part", [1, 3, 50])
@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("name", ["reinforce++-baseline", "gdpo"])
def test_statistics_of_the_table_are_exact_however_it_is_cut(
    name: str, statistics: str, rows_per_part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grao_pipeline.advantages.inputs.GROUPS_PER_QUERY", 4)
    rng = np.random.default_rng(1)
    names = ["a", "b"] if name == "gdpo" else ["a"]
    weights = [1.0, 0.5][: len(names)]

    def values(size: int) -> list[float]:
        return [float(value) for value in rng.normal(size=size).astype(np.float32)]

    test_groups = [
        Group({key: values(size) for key in names}, {key: values(1)[0] for key in names})
        for size in (1, 2, 3, 8, 8, 5, 4, 2, 9, 7, 6)
    ] + [Group({key: [0.5] * 3 for key in names}, dict.fromkeys(names, 0.5))]
    combine: dict[str, Any] = {"combine": "normalize"} if name == "gdpo" else {}
    computed, _ = compute(
        tmp_path,
        test_groups,
        rows_per_part,
        weights=dict(zip(names, weights, strict=True)),
        estimator=name,
        statistics=statistics,
        keep_zero_variance=True,
        **combine,
    )
    deviations = table_deviations(test_groups, statistics, names, weights)
    counted = np.concatenate([row if statistics == "samples_and_reference" else row[1:] for row in deviations])
    std = counted.std()
    for row, (samples, reference) in zip(deviations, computed, strict=True):
        assert [reference, *samples] == [near(value / std) for value in row]
    assert computed[-1] == ([0.0] * 3, 0.0)


def trl_source(file: str) -> ast.Module:
    """TRL's source, read without importing it (its import needs a vLLM of its liking)."""
    spec = find_spec("trl")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return ast.parse((Path(spec.submodule_search_locations[0]) / "trainer" / file).read_text())


def execute(statements: Sequence[ast.stmt], scope: dict[str, Any]) -> dict[str, Any]:
    exec(compile(ast.Module(list(statements), []), "trl", "exec"), scope)
    return scope


def trl_advantages(rewards: Array, weights: list[float], **settings: Any) -> Array:
    """What TRL's GRPOTrainer computes of rewards [groups, samples, rewards], by the very lines of its source."""
    (branch,) = [
        node
        for node in ast.walk(trl_source("grpo_trainer.py"))
        if isinstance(node, ast.If)
        and ast.unparse(node.test) == "self.multi_objective_aggregation == 'sum_then_normalize'"
    ]
    (nanstd,) = [
        node for node in trl_source("utils.py").body if isinstance(node, ast.FunctionDef) and node.name == "nanstd"
    ]
    per_function = torch.tensor(rewards.reshape(-1, rewards.shape[2]))
    trainer = SimpleNamespace(
        reward_weights=torch.tensor(weights, dtype=torch.float64), reward_funcs=weights, **settings
    )
    scope = {
        "torch": torch,
        "self": trainer,
        "device": "cpu",
        "num_generations": rewards.shape[1],
        "rewards_per_func": per_function,
        "unscorable_mask": torch.isnan(per_function).all(dim=1),
    }
    return np.asarray(execute([nanstd, branch], scope)["advantages"]).reshape(rewards.shape[:2])


def trl_rloo(rewards: Array) -> Array:
    """The same of RLOOTrainer's leave-one-out lines. Args: rewards: [groups, samples]."""
    wanted = ("scorable_counts = ", "grouped_sum = ", "if num_generations > 1:\n    baselines")
    lines = [
        node
        for node in ast.walk(trl_source("rloo_trainer.py"))
        if isinstance(node, ast.Assign | ast.If) and ast.unparse(node).startswith(wanted)
    ]
    assert len(lines) == 3
    grouped = torch.tensor(rewards)
    scope = {
        "torch": torch,
        "grouped_rewards": grouped,
        "rewards": grouped.view(-1),
        "num_generations": rewards.shape[1],
    }
    return np.asarray(execute(lines, scope)["advantages"]).reshape(rewards.shape)


def groups_for_trl(num_rewards: int) -> tuple[list[Group], Array]:
    """Groups of six, with unscored samples, ties, and a group of equal rewards."""
    rng = np.random.default_rng(5)
    rewards = rng.integers(0, 5, (12, 6, num_rewards)) / 4
    rewards[3] = 0.75
    if num_rewards == 1:  # TRL sums what is there of several rewards; here a sequence has all or none
        rewards[0, 2] = rewards[5, 0] = rewards[5, 3] = np.nan
    names = "ab"[:num_rewards]
    test_groups = [
        Group(
            {name: [None if np.isnan(x) else float(x) for x in group[:, k]] for k, name in enumerate(names)},
            dict.fromkeys(names),
            has_reference=False,
        )
        for group in rewards
    ]
    return test_groups, rewards


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grpo", "dr-grpo", "rloo"])
def test_estimators_agree_with_trls_own_code(name: str, tmp_path: Path) -> None:
    test_groups, rewards = groups_for_trl(1)
    if name == "rloo":
        expected = trl_rloo(rewards[:, :, 0])
    else:
        scale = {"grpo": "group", "dr-grpo": "none"}[name]
        plain = "sum_then_normalize"
        expected = trl_advantages(rewards, [1.0], multi_objective_aggregation=plain, scale_rewards=scale)
    computed, _ = compute(tmp_path, test_groups, estimator=name, statistics="samples", keep_zero_variance=True)
    for (samples, _), row, given_rewards in zip(computed, expected, rewards[:, :, 0], strict=True):
        for value, wanted, given_reward in zip(samples, row, given_rewards, strict=True):
            assert value == (None if np.isnan(given_reward) else pytest.approx(wanted, rel=1e-6, abs=1e-6))


@pytest.mark.slow
def test_gdpo_is_trls_normalize_then_sum_without_its_corrections(tmp_path: Path) -> None:
    """TRL divides by s_k + 1e-4 and s_T + 1e-4 with n − 1. Rewards scaled by 1e6 leave 1e-4 no weight in s_k; with
    s_k = σ_k √(6/5) in every group, TRL's sum is ours times √(5/6), and s_T = σ_T √(5/6) √(N / (N − 1)).
    """
    test_groups, rewards = groups_for_trl(2)
    expected = trl_advantages(
        rewards * 1e6, [1.0, 0.5], multi_objective_aggregation="normalize_then_sum", scale_rewards="group"
    )
    computed, _ = compute(
        tmp_path,
        test_groups,
        weights={"a": 1.0, "b": 0.5},
        estimator="gdpo",
        statistics="samples",
        combine="normalize",
        keep_zero_variance=True,
    )
    ours = np.array([samples for samples, _ in computed], dtype=np.float64)
    count = ours.size
    std = ours_std = 1.0
    # ours has unit deviation, so σ_T of the sum S = S / ours; TRL's S is √(5/6) of it.
    sums = trl_sums(rewards)
    std = sums.std() * math.sqrt(5 / 6) * math.sqrt(count / (count - 1))
    assert ours.std() == pytest.approx(ours_std, rel=1e-6)
    assert expected * (std + 1e-4) / (sums.std() * math.sqrt(5 / 6)) == pytest.approx(ours, rel=1e-6, abs=1e-6)


def trl_sums(rewards: Array) -> Array:
    """Σ_k w_k (R_k − μ_k) / σ_k, 0 where σ_k = 0."""
    std = rewards.std(axis=1, keepdims=True)
    centered = rewards - rewards.mean(axis=1, keepdims=True)
    scaled = np.where(std > 0, centered / np.where(std > 0, std, 1.0), 0.0)
    total: Array = scaled @ np.array([1.0, 0.5])
    return total


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - (BY_HAND - {"red"}) - {"asymre", "best-of-n", "sft"}))
@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, 1e30])
def test_equal_rewards_give_exactly_zero(name: str, value: float, tmp_path: Path) -> None:
    test_groups = [Group([float32(value)] * 7, float32(value)), Group([0.0, 1.0, 0.25], 0.5)]
    combine: dict[str, Any] = {"combine": "normalize"} if name == "gdpo" else {}
    computed, _ = compute(tmp_path, test_groups, estimator=name, keep_zero_variance=True, **combine)
    assert computed[0] == ([0.0] * 7, 0.0)


def test_the_first_of_equally_good_samples_is_the_best(tmp_path: Path) -> None:
    test_groups = [Group([0.0, None, 2.0, 2.0], 5.0)]
    assert compute(tmp_path, test_groups, estimator="best-of-n")[0] == [([None, None, 1.0, None], None)]


def test_references_are_imitated_whatever_the_rewards(tmp_path: Path) -> None:
    test_groups = [Group([1.0, 1.0], 1.0), Group([None, None], None), Group([0.0, 1.0], None, has_reference=False)]
    computed, summary = compute(tmp_path, test_groups, estimator="sft")
    assert computed == [([None, None], 1.0), ([None, None], 1.0), ([None, None], None)]
    assert (summary.trained_groups, summary.trained_samples) == (2, 0)


def test_arguments_reach_the_estimator_and_wrong_ones_are_named(tmp_path: Path) -> None:
    test_groups = [Group([1.0, 3.0], None, has_reference=False)]  # μ = 2
    (row,), _ = compute(tmp_path / "a", test_groups, estimator="asymre", estimator_arg=["delta_v=-0.5"])
    assert row == ([-0.5, 1.5], None)
    (row,), _ = compute(tmp_path / "b", test_groups, estimator="opmd", estimator_arg=["tau=3"])
    assert row == ([-0.25, 0.25], None)
    with pytest.raises(UsageError, match=r"estimator_arg: estimator 'asymre' has no argument 'tau'\. It has: delta_v"):
        compute(tmp_path / "c", test_groups, estimator="asymre", estimator_arg=["tau=3"])
    with pytest.raises(UsageError, match="estimator_arg: tau=much: input should be a valid number"):
        compute(tmp_path / "d", test_groups, estimator="opmd", estimator_arg=["tau=much"])


def test_unsuitable_rewards_and_combinations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"estimator: 'max-rl' divides by the mean reward .* the lowest reward is -1\."
    ):
        compute(tmp_path / "a", [Group([-1.0, 1.0], 0.0)], estimator="max-rl")
    with pytest.raises(UsageError, match="estimator: 'gdpo' needs --combine normalize, not 'sum'"):
        compute(tmp_path / "b", [Group([-1.0, 1.0], 0.0)], estimator="gdpo")
