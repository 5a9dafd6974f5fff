"""`grao compare` against a recomputation of every weight by loops, and by the objective that trains."""

import math
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from grao_pipeline.advantages.compute import open_computation
from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.errors import MismatchError
from grao_pipeline.reward_checks.compare import Comparison, compare_scores
from grao_pipeline.reward_checks.options import CompareOptions
from grao_pipeline.reward_checks.rank_correlation import kappa
from grao_pipeline.reward_checks.weights import with_weights
from grao_pipeline.testing import group_row
from grao_pipeline.training.micro_batch import objective_inputs
from grao_pipeline.training.objectives.grao import Grao
from tests import tiny
from tests.training.steps import sequence

BETA, LAMBDA = 0.5, 0.6
Rewards = list[tuple[list[float | None], float | None]]
"""By group: the samples' rewards and the reference's."""


def draw(rng: random.Random, num_groups: int) -> Rewards:
    """Groups of 2 to 8 samples on a grid of rewards, so that ties occur; some unscored, some without a reference, some
    all equal."""
    drawn: Rewards = []
    for number in range(num_groups):
        values = [rng.choice([0.0, 0.25, 0.5, 1.0, None]) for _ in range(sizes(number))]
        values = [0.5] * len(values) if number % 17 == 0 else values
        drawn.append((values, None if number % 5 == 4 else rng.choice([0.0, 0.5, 0.75])))
    return drawn


def sizes(number: int) -> int:
    return 2 + number % 7


def write(path: Path, rewards: Rewards, name: str, groups: list[dict[str, Any]] | None = None) -> str:
    """A scores table of the groups of `write_groups`."""
    rows = [
        {
            "group_id": group["group_id"],
            "rewards": values,
            "reference_reward": reference,
            "statuses": ["error" if value is None else "ok" for value in values],
        }
        for group, (values, reference) in zip(groups or group_rows(len(rewards)), rewards, strict=True)
    ]
    return tiny.write_table(path / name, "scores", rows, 64, inputs={"groups": "g" * 32}, options={"name": name})


def group_rows(num_groups: int) -> list[dict[str, Any]]:
    return [
        group_row(
            f"prompt {number}",
            [f"sample {place} of {number}" for place in range(sizes(number))],
            None if number % 5 == 4 else "the reference",
        )
        for number in range(num_groups)
    ]


def write_groups(path: Path, num_groups: int) -> str:
    return tiny.write_table(path / "groups", "groups", group_rows(num_groups), 64, fingerprint="g" * 32)


def naive_weights(values: list[float | None], reference: float | None) -> tuple[list[float], list[float], float]:
    """(Â of the samples, their weights, the reference's weight) in float64, by loops; 0 for what is not trained on."""
    counted = [value for value in [*values, reference] if value is not None]
    mean = fmean(counted) if counted else 0.0
    std = math.sqrt(fmean((value - mean) ** 2 for value in counted)) if counted else 0.0
    if std == 0.0:
        return [0.0] * len(values), [0.0] * len(values), 0.0
    advantages = [None if value is None else (value - mean) / std for value in values]
    trained = [advantage for advantage in advantages if advantage is not None]
    size = max(len(trained), 1)
    factor = 1 + LAMBDA if reference is not None else 1.0
    weights = [0.0 if advantage is None else factor * advantage / size for advantage in advantages]
    of_reference = 0.0
    if reference is not None:
        of_reference = BETA * (reference - mean) / std - LAMBDA * sum(trained) / size
    return [advantage or 0.0 for advantage in advantages], weights, of_reference


def training_weights(path: Path, name: str, beta: float, lambda_: float, **options: Any) -> pl.DataFrame:
    """The weights of every sequence of the table with this name."""
    chosen = AdvantagesOptions(scores=[WeightedScores(url=str(path / name))], **options)
    [batch] = open_computation(str(path / "groups"), chosen).batches()
    return with_weights(batch.rows, beta, lambda_)


def naive_spearman(pairs: list[tuple[float, float]]) -> float | None:
    """By the definition: the correlation of mean ranks, counted by loops."""
    columns = list(zip(*pairs, strict=True))
    if not columns or any(len(set(column)) == 1 for column in columns):
        return None
    ranks = [
        [sum(other < value for other in column) + (column.count(value) + 1) / 2 for value in column]
        for column in columns
    ]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


@pytest.fixture(scope="module")
def drawn() -> tuple[Rewards, Rewards]:
    rng = random.Random(7)
    return draw(rng, 200), draw(rng, 200)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, drawn: tuple[Rewards, Rewards]) -> tuple[Path, Comparison]:
    path = tmp_path_factory.mktemp("compared")
    groups = write_groups(path, 200)
    a, b = (write(path, rewards, name) for rewards, name in zip(drawn, "ab", strict=True))
    return path, compare_scores(groups, a, b, CompareOptions(top=4))


def test_weights_are_the_recomputed_ones(compared: tuple[Path, Comparison], drawn: tuple[Rewards, Rewards]) -> None:
    path, _ = compared
    for name, rewards in zip("ab", drawn, strict=True):
        rows = training_weights(path, name, BETA, LAMBDA)
        expected = []
        for values, reference in rewards:
            _, weights, of_reference = naive_weights(values, reference)
            expected += ([] if reference is None else [of_reference]) + weights
        np.testing.assert_allclose(rows["weight"].to_numpy(), expected, rtol=0, atol=1e-6)


def test_numbers_are_the_recomputed_ones(compared: tuple[Path, Comparison], drawn: tuple[Rewards, Rewards]) -> None:
    _, comparison = compared
    flips = partial = samples = other_best = 0
    moved: list[float] = []
    magnitude = 0.0
    correlations = []
    signs: list[tuple[int, int]] = []
    for (values_a, y_a), (values_b, y_b) in zip(*drawn, strict=True):
        (adv_a, w_a, ref_a), (adv_b, w_b, ref_b) = naive_weights(values_a, y_a), naive_weights(values_b, y_b)
        for one, other in zip(adv_a, adv_b, strict=True):
            signs.append((int(np.sign(one)), int(np.sign(other))))
            flips += one * other < 0
            partial += (one == 0) != (other == 0)
        samples += len(adv_a)
        both = list(zip([*w_a, ref_a], [*w_b, ref_b], strict=True))
        moved.append(sum(abs(one - other) for one, other in both))
        magnitude += sum(abs(one) + abs(other) for one, other in both)
        pairs = [(a, b) for a, b in zip(values_a, values_b, strict=True) if a is not None and b is not None]
        correlations.append(naive_spearman(pairs))
        other_best += w_a.index(max(w_a)) != w_b.index(max(w_b)) and (max(w_a) > 0 or max(w_b) > 0)
    counted = [value for value in correlations if value is not None]
    assert (comparison.groups, comparison.samples) == (200, samples)
    assert (comparison.sign_flips, comparison.to_or_from_zero) == (flips, partial)
    assert comparison.weight_moved == pytest.approx(sum(moved) / magnitude, abs=1e-6)
    assert comparison.rank_correlation is not None
    assert comparison.rank_correlation["value"] == pytest.approx(fmean(counted), abs=1e-9)
    assert comparison.rank_correlation["low"] < fmean(counted) < comparison.rank_correlation["high"]
    assert comparison.constant_groups == 200 - len(counted)
    assert comparison.other_best == other_best
    agreement = fmean(one == other for one, other in signs)
    chance = sum(
        fmean(one == sign for one, _ in signs) * fmean(other == sign for _, other in signs) for sign in (-1, 0, 1)
    )
    assert comparison.kappa == pytest.approx((agreement - chance) / (1 - chance), abs=1e-9)
    assert [group.moved for group in comparison.differ_most] == pytest.approx(sorted(moved)[-4:][::-1], abs=1e-6)


def test_groups_that_differ_most_come_with_their_texts(
    compared: tuple[Path, Comparison], drawn: tuple[Rewards, Rewards]
) -> None:
    path, comparison = compared
    for group in comparison.differ_most:
        number = int(group.prompt.split()[-1])
        assert group.group_id == group_rows(200)[number]["group_id"]
        (_, w_a, _), (_, w_b, _) = (naive_weights(*rewards[number]) for rewards in drawn)
        assert group.weights_a == pytest.approx(w_a, abs=1e-6)
        assert group.best_b == f"sample {w_b.index(max(w_b))} of {number}"
    printed = tiny.grao("compare", path / "groups", path / "a", path / "b", "--top", 1).stdout
    assert f"{comparison.differ_most[0].moved:.3f} moved: {comparison.differ_most[0].prompt}" in printed


def test_a_reward_that_distinguishes_no_samples_prefers_none(tmp_path: Path) -> None:
    groups = write_groups(tmp_path, 2)
    constant: Rewards = [([0.0] * sizes(number), 1.0) for number in range(2)]
    varied: Rewards = [([*values[:-1], 0.5], reference) for values, reference in constant]
    a, b = (write(tmp_path, rewards, name, group_rows(2)) for name, rewards in (("a", constant), ("b", varied)))
    printed = tiny.grao("compare", groups, a, b).stdout
    assert "A prefers  none of the samples" in printed
    assert f"B prefers  sample {sizes(0) - 1} of 0" in printed


def test_a_reward_compared_with_itself_moves_nothing(compared: tuple[Path, Comparison]) -> None:
    path, _ = compared
    printed = tiny.grao_json("compare", path / "groups", path / "a", path / "a")
    assert (printed["sign_flips"], printed["to_or_from_zero"], printed["weight_moved"]) == (0, 0, 0.0)
    assert (printed["kappa"], printed["other_best"], printed["differ_most"]) == (1.0, 0, [])
    assert printed["rank_correlation"]["value"] == pytest.approx(1.0)


@pytest.mark.slow
def test_a_reward_that_is_constant_within_groups_is_named(tmp_path: Path) -> None:
    """It differs between groups, so that no table-wide test would see it."""
    groups = write_groups(tmp_path, 6)
    varied: Rewards = [([float(place) for place in range(sizes(number))], None) for number in range(6)]
    constant: Rewards = [([float(number)] * sizes(number), None) for number in range(6)]
    a, b = (write(tmp_path / name, drawn, name, group_rows(6)) for name, drawn in (("a", varied), ("b", constant)))
    [note] = compare_scores(groups, a, b, CompareOptions()).notes
    assert note.startswith("Reward B is constant within each of the 6 groups")
    assert note in tiny.grao("compare", groups, a, b).stdout
    assert compare_scores(groups, a, a, CompareOptions()).notes == []


def test_the_weights_are_those_of_the_objective(compared: tuple[Path, Comparison]) -> None:
    """`Grao.weights`, which trains, on the same advantages."""
    path, _ = compared
    rows = training_weights(path, "a", 0.3, 1.1, reference_floor=0.0)
    checked = 0
    for _, group in rows.group_by("row", maintain_order=True):
        kept = [row for row in group.to_dicts() if row["advantage"] is not None]
        samples = [row["advantage"] for row in kept if row["sample_index"] >= 0]
        if not samples:
            continue
        has_reference = len(samples) < len(kept)
        sequences = [
            sequence(
                [1],
                [5],
                advantage=row["advantage"],
                is_reference=row["sample_index"] < 0,
                group_size=len(samples),
                group_mean_advantage=fmean(samples),
                group_has_reference=has_reference,
            )
            for row in kept
        ]
        mask = torch.ones(len(kept), 1, dtype=torch.bool)
        inputs = objective_inputs(sequences, mask, torch.zeros(len(kept), 1, dtype=torch.float64))
        weights = Grao(0.3, 1.1).weights(inputs).tolist()
        assert [row["weight"] for row in kept] == pytest.approx(weights, abs=1e-6)
        checked += 1
    assert checked > 150


def test_scores_of_other_groups_are_refused(compared: tuple[Path, Comparison], tmp_path: Path) -> None:
    path, _ = compared
    rows = [group_row("another", ["a", "b"])]
    others = write(tmp_path, [([1.0, 0.0], None)], "other", rows)
    with pytest.raises(MismatchError):
        compare_scores(str(path / "groups"), str(path / "a"), others, CompareOptions())


def test_kappa_is_the_hand_worked_one() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: p_o = 0.7, p_e = 0.5 · 0.6 + 0.5 · 0.4 = 0.5, κ = 0.4."""
    assert kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)
    assert kappa(np.array([[9, 0], [0, 0]])) is None
