"""Each filter by numbers worked by hand: what it masks, what it leaves to the statistics, what is counted."""

from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.advantages.filters.by_options import FILTERS
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.advantages.recipe import Masked
from grao_pipeline.storage.reader import open_table
from tests.advantages.common import Group, compute
from tests.advantages.test_options import OTHER_VALUES

PLAIN: dict[str, Any] = {"estimator": "dr-grpo", "statistics": "samples"}


def advantages(tmp_path: Path, groups: list[Group], **options: Any) -> tuple[list[Any], dict[str, Masked]]:
    computed, summary = compute(tmp_path, groups, **{**PLAIN, **options})
    return computed, {name: count for name, count in summary.masked.items() if count.groups}


def lone(rewards: list[float | None], **values: Any) -> Group:
    return Group(rewards, None, has_reference=False, **values)


@pytest.mark.slow
def test_truncated_samples_are_kept_dropped_or_counted_with_zero(tmp_path: Path) -> None:
    """Rewards 0, 2, 7 with the last truncated. All three: μ = 3; without it: μ = 1."""
    group = lone([0.0, 2.0, 7.0], finish_reasons=["stop", "stop", "length"])
    assert advantages(tmp_path / "a", [group]) == ([([-3.0, -1.0, 4.0], None)], {})
    counted = {"truncated": Masked(1, 1)}
    assert advantages(tmp_path / "b", [group], truncated="drop") == ([([-1.0, 1.0, None], None)], counted)
    zeroed = {"truncated-to-zero": Masked(1, 1)}
    assert advantages(tmp_path / "c", [group], truncated="zero") == ([([-3.0, -1.0, 0.0], None)], zeroed)


def test_a_dropped_sample_has_no_reward_in_the_table(tmp_path: Path) -> None:
    group = lone([0.0, 2.0, 7.0], finish_reasons=["stop", "stop", "length"])
    _, summary = compute(tmp_path, [group], truncated="drop", **PLAIN)
    row = open_table(str(tmp_path / "out")).arrow().to_pylist()[0]
    assert (row["rewards"], row["reward_mean"], row["reward_std"]) == ([0.0, 2.0, None], 1.0, 1.0)
    assert (summary.unscored_samples, summary.mean_reward, summary.trained_samples) == (0, 3.0, 2)


def test_short_and_long_samples_count_nowhere(tmp_path: Path) -> None:
    """Lengths 1, 2, 3, 4 and rewards 9, 0, 2, 9: between 2 and 3 tokens, μ = 1."""
    group = lone([9.0, 0.0, 2.0, 9.0], token_ids=[[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]])
    computed, counted = advantages(tmp_path, [group], min_tokens=2, max_tokens=3)
    assert computed == [([None, -1.0, 1.0, None], None)]
    assert counted == {"too-short": Masked(1, 1), "too-long": Masked(1, 1)}


def test_the_first_of_equal_completions_stays(tmp_path: Path) -> None:
    """By ids: [1, 2] twice, [1], and [] twice; the same ids in another group are not duplicates. μ of 0, 4, 2 is 2."""
    ids: list[list[int]] = [[1, 2], [1], [1, 2], [], []]
    groups = [lone([0.0, 4.0, 9.0, 2.0, 9.0], token_ids=ids), lone([0.0, 2.0], token_ids=[[1, 2], [1]])]
    computed, counted = advantages(tmp_path, groups, duplicates="drop")
    assert computed == [([-2.0, 2.0, None, 0.0, None], None), ([-1.0, 1.0], None)]
    assert counted == {"duplicates": Masked(2, 1)}


def test_an_unscored_sample_masks_itself_or_its_group(tmp_path: Path) -> None:
    groups = [Group([0.0, None, 2.0], 5.0), Group([0.0, 2.0], None)]
    computed, counted = advantages(tmp_path / "a", groups)
    assert (computed, counted) == ([([-1.0, None, 1.0], 4.0), ([-1.0, 1.0], None)], {})
    computed, counted = advantages(tmp_path / "b", groups, unscored="group")
    assert computed == [([None, None, None], None), ([-1.0, 1.0], None)]
    assert counted["unscored"] == Masked(2, 1)


def test_stale_groups_are_masked(tmp_path: Path) -> None:
    """The newest round, 5, is in another part."""
    groups = [lone([0.0, 2.0], round=number) for number in (3, 4, 2, 4, 5)]
    computed, counted = advantages(tmp_path, groups, max_rounds_behind=1)
    assert [samples for samples, _ in computed] == [[None] * 2, [-1.0, 1.0], [None] * 2, [-1.0, 1.0], [-1.0, 1.0]]
    assert counted["staleness"] == Masked(4, 2)


def test_outliers_are_measured_by_the_median_absolute_deviation(tmp_path: Path) -> None:
    """1, 2, 3, 4, 100: median 3, distances 2, 1, 0, 1, 97, MAD 1. Beyond 3 · 1.4826 lies 100 alone; then μ = 2.5.
    0, 0, 0, 1: MAD = 0, so that there is no scale and nothing is masked.
    """
    groups = [lone([1.0, 2.0, 3.0, 4.0, 100.0]), lone([0.0, 0.0, 0.0, 1.0])]
    computed, counted = advantages(tmp_path, groups, max_deviations=3.0)
    assert computed == [([-1.5, -0.5, 0.5, 1.5, None], None), ([-0.25, -0.25, -0.25, 0.75], None)]
    assert counted == {"outliers": Masked(1, 1)}
    # The bound itself: 5 is 2 = 1.349 · 1.4826 · MAD from the median.
    edge = [lone([1.0, 2.0, 3.0, 4.0, 5.0])]
    assert advantages(tmp_path / "in", edge, max_deviations=1.35)[1] == {}
    assert advantages(tmp_path / "out", edge, max_deviations=1.34)[1] == {"outliers": Masked(2, 1)}


def test_a_group_needs_enough_samples_after_the_previous_filters(tmp_path: Path) -> None:
    short = lone([0.0, 2.0, 4.0], token_ids=[[1, 2], [1, 3], [1]])
    groups = [short, lone([0.0, 2.0, 4.0]), lone([0.0, None, 1.0])]
    computed, counted = advantages(tmp_path, groups, min_tokens=2, min_group_size=3)
    assert computed == [([None] * 3, None), ([-2.0, 0.0, 2.0], None), ([None] * 3, None)]
    assert counted["too-short"] == Masked(1, 1)
    assert counted["min-group-size"] == Masked(2 + 2, 2)


def test_the_mean_reward_of_a_group_must_be_inside_the_limits(tmp_path: Path) -> None:
    """Means of the samples: 1/4, 1/2, 3/4; the reference plays no part. The ends of the band are inside."""
    groups = [Group([0.0, 0.5], 9.0), Group([0.0, 1.0], 9.0), Group([0.5, 1.0], 9.0)]
    computed, counted = advantages(tmp_path / "a", groups, min_mean_reward=0.5, max_mean_reward=0.5)
    assert computed == [([None] * 2, None), ([-0.5, 0.5], 8.5), ([None] * 2, None)]
    assert counted == {"mean-reward": Masked(4, 2)}
    assert advantages(tmp_path / "b", groups, min_mean_reward=0.3)[1] == {"mean-reward": Masked(2, 1)}


def test_the_best_and_the_worst_are_chosen_after_the_statistics(tmp_path: Path) -> None:
    """Rewards 4, 0, 4, 2, 0: μ = 2. Among equals the earlier one is chosen."""
    groups = [Group([4.0, 0.0, 4.0, 2.0, 0.0], 3.0)]
    computed, counted = advantages(tmp_path / "a", groups, top_k=1)
    assert (computed, counted) == ([([2.0, None, None, None, None], 1.0)], {"top-and-bottom": Masked(4, 1)})
    computed, _ = advantages(tmp_path / "b", groups, top_k=1, bottom_k=1)
    assert computed == [([2.0, -2.0, None, None, None], 1.0)]
    computed, _ = advantages(tmp_path / "c", groups, bottom_k=3)
    assert computed == [([None, -2.0, None, 0.0, -2.0], 1.0)]


def test_filters_compose_in_their_order_and_are_counted_one_by_one(tmp_path: Path) -> None:
    """The sample that is truncated and too long is counted once, by the first. What is left is equal: no variance."""
    group = lone(
        [1.0, 5.0, 5.0, 1.0],
        token_ids=[[1], [1, 2, 3], [1, 2, 4], [2]],
        finish_reasons=["stop", "length", "stop", "stop"],
    )
    computed, counted = advantages(
        tmp_path, [group, lone([0.0, 2.0], token_ids=[[3], [4]])], truncated="drop", max_tokens=2
    )
    assert computed == [([None] * 4, None), ([-1.0, 1.0], None)]
    assert counted == {"truncated": Masked(1, 1), "too-long": Masked(1, 1), "zero-variance": Masked(2, 1)}


@pytest.mark.parametrize("rows_per_part", [1, 2, 5])
def test_filters_do_not_depend_on_the_parts(
    rows_per_part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grao_pipeline.advantages.inputs.GROUPS_PER_QUERY", 2)
    groups = [lone([float(number), 1.0, 4.0], round=number) for number in range(5)]
    computed, summary = compute(
        tmp_path, groups, rows_per_part, max_rounds_behind=2, top_k=1, min_mean_reward=2.5, **PLAIN
    )
    # Rounds 2, 3, 4 stay; means 7/3, 8/3, 3; the best is the last sample, or the first of 4 and 4.
    assert computed == [([None] * 3, None)] * 3 + [
        ([None, None, pytest.approx(4 / 3)], None),
        ([1.0, None, None], None),
    ]
    assert summary.masked["staleness"] == Masked(6, 2)
    assert summary.masked["mean-reward"] == Masked(3, 1)
    assert summary.masked["top-and-bottom"] == Masked(4, 2)


def test_every_filter_says_what_it_masks_and_is_switched_by_its_options() -> None:
    """Without its options a filter is off, apart from zero-variance, which its option switches off."""
    values = dict(OTHER_VALUES)
    for described in FILTERS:
        assert described.help.endswith(".")
        default = described.expression(AdvantagesOptions())
        assert (default is not None) == (described.name == "zero-variance")
        for name in described.options:
            choices = ["drop", "zero"] if name == "truncated" else [values[name]]
            switched = [described.expression(AdvantagesOptions.model_validate({name: value})) for value in choices]
            assert any((expression is None) != (default is None) for expression in switched), described.name
    assert [described.phase for described in FILTERS] == ["before"] * 8 + ["after"] * 4
    assert len({described.name for described in FILTERS}) == len(FILTERS)
