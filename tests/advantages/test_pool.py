"""Statistics over a prompt's samples in several tables, by hand."""

from pathlib import Path

import pytest

from grao_pipeline.advantages.compute import advantages_provenance
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.errors import UsageError
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.advantages.common import Group, compute, write


def group(prompt: str, rewards: list[float | None], reference: float | None = None, policy: str = "p") -> Group:
    return Group(rewards, reference, prompt, has_reference=reference is not None, policy=policy * 32)


GROUPS = [group("a", [0.0, 2.0]), group("b", [1.0, 1.0], 4.0), group("c", [5.0, 7.0]), group("a", [10.0], policy="q")]
EARLIER = [group("d", [100.0]), group("b", [7.0, None], 50.0, "r"), group("a", [4.0, 4.0], policy="r")]


@pytest.mark.parametrize("rows_per_part", [1, 2, 4])
def test_a_prompts_samples_are_found_in_every_part_of_every_table(
    rows_per_part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """a: 0, 2 and 10 here, 4 and 4 there: μ = 4. b: 1, 1, 7 and the table's reference 4 (the other table's does not
    count): μ = 13/4. c: 5, 7: μ = 6.
    """
    monkeypatch.setattr("grao_pipeline.advantages.inputs.GROUPS_PER_QUERY", 1)
    url, scores = write(tmp_path / "earlier", EARLIER, 2)
    computed, summary = compute(tmp_path / "own", GROUPS, rows_per_part, [(url, scores["r"])], estimator="dr-grpo")
    assert computed == [([-4.0, -2.0], None), ([-2.25, -2.25], 0.75), ([-1.0, 1.0], None), ([6.0], None)]
    assert (summary.groups, summary.samples, summary.trained_samples) == (4, 7, 7)
    table = open_table(str(tmp_path / "own" / "out"))
    assert table.arrow().column("reward_mean").to_pylist() == [4.0, 3.25, 6.0, 4.0]
    assert table.provenance.inputs["pool"] == [
        [open_table(url).fingerprint, [["r", open_table(scores["r"]).fingerprint]]]
    ]


def test_a_groups_own_variance_does_not_matter_in_a_pool(tmp_path: Path) -> None:
    """1 and 1 are equal, yet above the pool's mean of (1 + 1 + 0 + 0) / 4."""
    url, scores = write(tmp_path / "earlier", [group("a", [0.0, 0.0], policy="r")])
    computed, _ = compute(tmp_path / "own", [group("a", [1.0, 1.0])], pool=[(url, scores["r"])])
    assert computed == [([1.0, 1.0], None)]


@pytest.mark.slow
def test_several_rewards_are_matched_by_name(tmp_path: Path) -> None:
    def two_rewards(a: list[float], b: list[float], policy: str) -> Group:
        return Group({"a": a, "b": b}, {"a": None, "b": None}, "q", has_reference=False, policy=policy * 32)

    url, scores = write(tmp_path / "earlier", [two_rewards([1.0, 3.0], [10.0, 30.0], "r")])
    groups = [two_rewards([0.0, 4.0], [20.0, 20.0], "p")]
    # a + b / 10: 2 and 6 here, 2 and 6 there; μ = 4
    pool = [(url, scores["b"]), (url, scores["a"])]
    computed, _ = compute(tmp_path / "own", groups, pool=pool, weights={"b": 0.1}, estimator="dr-grpo")
    assert computed == [([-2.0, 2.0], None)]
    with pytest.raises(UsageError, match=r"scores of b are missing. Give --pool GROUPS SCORES once per reward"):
        compute(tmp_path / "missing", groups, pool=pool[1:])
    with pytest.raises(UsageError, match=r"pool: .* holds the reward 'a' a second time"):
        compute(tmp_path / "twice", groups, pool=[*pool, pool[1]])


def test_statistics_of_the_table_are_over_its_groups_alone(tmp_path: Path) -> None:
    """a: 0, 2 here, 4, 6 there: μ = 3; R − μ = −3, −1 here, with a deviation of 1. So −3 and −1."""
    url, scores = write(tmp_path / "earlier", [group("a", [4.0, 6.0], policy="r")])
    groups = [group("a", [0.0, 2.0])]
    computed, _ = compute(tmp_path / "own", groups, pool=[(url, scores["r"])], estimator="reinforce++-baseline")
    assert computed == [([-3.0, -1.0], None)]


def test_of_equal_samples_in_a_pool_the_tables_sample_is_best(tmp_path: Path) -> None:
    url, scores = write(tmp_path / "earlier", [group("a", [9.0, 1.0], policy="r"), group("b", [9.0], policy="r")])
    groups = [group("a", [1.0, 9.0]), group("b", [1.0, 8.0])]
    computed, _ = compute(tmp_path / "own", groups, pool=[(url, scores["r"])], estimator="best-of-n")
    assert computed == [([None, 1.0], None), ([None, None], None)]


def test_filters_look_at_the_group_and_count_the_tables_samples(tmp_path: Path) -> None:
    """Of the pool's 0, 2, 40, 42 the first round's are too old: μ = 41."""
    old, new = group("a", [0.0, 2.0], policy="r"), group("a", [40.0, 42.0])
    url, scores = write(tmp_path / "earlier", [old])
    new.round = 5
    pool = [(url, scores["r"])]
    computed, summary = compute(tmp_path / "own", [new], pool=pool, estimator="dr-grpo", max_rounds_behind=2, top_k=1)
    assert computed == [([None, 1.0], None)]
    assert {name: count.samples for name, count in summary.masked.items()} == {
        "staleness": 0,
        "zero-variance": 0,
        "top-and-bottom": 1,
    }


def test_a_users_estimator_sees_the_pool_under_the_same_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pooled_estimator.py").write_text(
        "import polars as pl\ndef f(view, *, statistics):\n"
        "    return pl.col('reward') - pl.col('reward').max().over('group_id')\n"
    )
    url, scores = write(tmp_path / "earlier", [group("a", [9.0], policy="r")])
    computed, _ = compute(
        tmp_path / "own", [group("a", [1.0, 2.0])], pool=[(url, scores["r"])], estimator="pooled_estimator:f"
    )
    assert computed == [([-8.0, -7.0], None)]


def test_a_pool_changes_the_fingerprint_and_its_order_does_not() -> None:
    options, scores = AdvantagesOptions(), [("r", "s" * 32, 1.0)]
    plain = advantages_provenance(options, "g" * 32, scores)
    assert "pool" not in plain.inputs
    assert advantages_provenance(options, "g" * 32, scores, pool=[]) == plain
    one, other = ("a" * 32, [("r", "b" * 32)]), ("c" * 32, [("r", "d" * 32)])
    pooled = advantages_provenance(options, "g" * 32, scores, pool=[one, other])
    assert pooled.fingerprint != plain.fingerprint
    assert advantages_provenance(options, "g" * 32, scores, pool=[other, one]) == pooled


def test_the_command_takes_pairs(tmp_path: Path) -> None:
    earlier, there = write(tmp_path / "earlier", EARLIER)
    url, scores = write(tmp_path / "own", GROUPS)
    arguments = ["advantages", url, tmp_path / "out", "--scores", scores["r"], "--estimator", "dr-grpo"]
    tiny.grao_json(*arguments, "--pool", earlier, there["r"])
    assert open_table(str(tmp_path / "out")).arrow().column("advantages").to_pylist()[0] == [-4.0, -2.0]
    result = tiny.grao(*arguments, "--pool", earlier, scores["r"])
    assert result.exit_code == 1
    assert "holds the scores of groups" in result.stderr
