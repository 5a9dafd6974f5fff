"""What a prompt's chance is proportional to: numbers worked by hand, and the plug-ins' limits."""

import math
from pathlib import Path

import polars as pl
import pytest

from grao_pipeline.errors import StageFailure
from grao_pipeline.prompts.curriculum import weigh
from grao_pipeline.prompts.draw import probabilities
from grao_pipeline.prompts.history_functions import load_priority
from grao_pipeline.prompts.options import CurriculumOptions
from grao_pipeline.prompts.reward_history import open_history, reward_statistics
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.prompts.test_curriculum import write_history


def statistics(root: Path, *rounds: dict[str, list[float | None]]) -> pl.DataFrame:
    """Of rounds with these rewards; prompt IDs are the names."""
    places = [write_history(root / f"r{number}", rewards, number) for number, rewards in enumerate(rounds)]
    pairs = open_history([(groups, scores) for groups, scores in places])
    names = {tiny.group_row(name, ["x"], None)["prompt_id"]: name for name in rounds[0]}
    return reward_statistics(pairs).with_columns(pl.col("prompt_id").replace(names)).sort("prompt_id")


def test_the_history_has_the_rewards_of_all_rounds_and_those_of_the_last(tmp_path: Path) -> None:
    seen = statistics(tmp_path, {"a": [0.0, 1.0, None], "b": [1.0]}, {"a": [1.0, 1.0], "b": [None], "c": [None]})
    assert seen.select("prompt_id", "rewards", "last", "mean", "variance", "round").rows() == [
        ("a", [0.0, 1.0, 1.0, 1.0], [1.0, 1.0], 1.0, 0.0, 1),
        ("b", [1.0], [1.0], 1.0, 0.0, 0),  # in round 1 its only sample was not scored
    ]


def test_distinct_is_the_share_of_distinct_trigrams_of_a_group(tmp_path: Path) -> None:
    """Token IDs 1 2 3 4 and 1 2 3 have the 3-grams 123, 234 and 123: two of three are distinct; mean 3.5 tokens."""
    row = tiny.group_row("a", ["x", "y", "z"], None) | {"completion_token_ids": [[1, 2, 3, 4], [1, 2, 3], [7, 8]]}
    row |= {"completion_logprobs": [[-1.0] * 4, [-1.0] * 3, [-1.0] * 2], "completion_token_ends": None}
    groups = tiny.write_table(tmp_path / "groups", "groups", [row], 1)
    scores = {"group_id": row["group_id"], "rewards": [0.0, 1.0, 0.0], "reference_reward": None}
    scores |= {"statuses": ["ok"] * 3, "details": None}
    rewards = tiny.write_table(tmp_path / "scores", "scores", [scores], 1)
    seen = reward_statistics(open_history([(groups, rewards)]), of_tokens=True)
    assert seen["distinct"].to_list() == pytest.approx([2 / 3])
    assert seen["mean_tokens"].to_list() == [3.0]


def test_cures_prefers_middle_difficulty_as_worked_by_hand(tmp_path: Path) -> None:
    """3 of 4 and 0 of 4: p = 4/6 and 1/6, √(p (1 − p)) = 0.471405 and 0.372678, and e^(0.098727 / 0.1) = 2.683891."""
    seen = statistics(tmp_path, {"a": [1.0, 1.0, 1.0, 0.0], "b": [0.0] * 4})
    options = CurriculumOptions(priority="cures", priority_arg=["tau=0.1"], uniform_mix=0)
    weighed = weigh(["a", "b"], seen, options)
    assert weighed["probability"].to_list() == pytest.approx([0.728547, 0.271453], abs=1e-6)
    # The unseen prompt has p = ½, the largest priority; a small tau is not an infinity.
    sharp = load_priority(CurriculumOptions(priority="cures", priority_arg=["tau=1e-4"]))
    unseen = pl.concat([seen, pl.DataFrame({"prompt_id": ["c"]})], how="diagonal")
    values = sharp.priorities(unseen).to_list()
    assert values[2] == 1.0
    assert all(math.isfinite(value) for value in values)


def test_vas_adds_diversity_to_the_variance_as_worked_by_hand() -> None:
    """p = ½ and D = 0.6: 0.8/4 + 0.2 · 0.6 = 0.32; half of the chance is uniform."""
    history = pl.DataFrame({"variance": [0.25, None], "distinct": [0.6, None]})
    priority = load_priority(CurriculumOptions(priority="vas"))
    assert priority.reads_tokens
    assert priority.priorities(history).to_list() == [pytest.approx(0.32), None]
    assert probabilities([0.32, 0.08, 0.0], 0.5) == pytest.approx([0.566667, 0.266667, 0.166667], abs=1e-6)


def test_vas_reads_the_tokens_of_the_history(tmp_path: Path) -> None:
    history = write_history(tmp_path / "r0", {"a": [0.0, 1.0], "b": [1.0, 0.0]})
    prompts = tiny.write_table(tmp_path / "prompts", "prompts", [tiny.prompt_row(name) for name in "ab"], 2)
    for priority in ("vas", "variance"):
        options = ["--history", *history, "--priority", priority, "--num-prompts", 1]
        assert tiny.grao_json("curriculum", prompts, tmp_path / priority, *options)["chosen"] == 1
    fingerprints = {open_table(str(tmp_path / name)).fingerprint for name in ("vas", "variance")}
    assert len(fingerprints) == 2


def negative(history: pl.DataFrame, *, success_threshold: float) -> pl.Expr:
    """A priority of the user's that is not a priority."""
    return -pl.col("variance")


def test_a_negative_priority_of_the_users_is_refused(tmp_path: Path) -> None:
    seen = statistics(tmp_path, {"a": [1.0, 0.0]})
    priority = load_priority(CurriculumOptions(priority="tests.prompts.test_priorities:negative"))
    with pytest.raises(StageFailure, match="gave other values than one finite number from 0 on per prompt"):
        priority.priorities(seen)
