"""What earlier rounds say of each prompt: mean and variance of its samples' rewards, the last time it was seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import MANIFEST
from grao_pipeline.storage.reader import TableReader, open_table

SCHEMA = {"prompt_id": pl.String, "mean": pl.Float64, "variance": pl.Float64, "round": pl.Int32}


@dataclass(frozen=True)
class Round:
    """A groups table and the rewards of its samples: its scores, or its advantages with the combined reward."""

    groups: TableReader
    rewards: TableReader

    @property
    def fingerprints(self) -> tuple[str, str]:
        return self.groups.fingerprint, self.rewards.fingerprint


def open_history(history: Sequence[tuple[str, str]]) -> list[Round]:
    """Open pairs of a groups table and a scores (or advantages) table.

    Raises:
        InputError: one of them is not usable.
        MismatchError: the rewards are of other groups.
    """
    rounds = []
    for groups_url, rewards_url in history:
        groups = open_table(groups_url, "groups")
        is_combined = Directory(rewards_url).exists(MANIFEST) and open_table(rewards_url).schema.name == "advantages"
        rewards = open_table(rewards_url, "advantages" if is_combined else "scores")
        rewards.refuse_other_groups(groups)
        rounds.append(Round(groups, rewards))
    return rounds


def reward_statistics(rounds: Sequence[Round]) -> pl.DataFrame:
    """Mean and population variance of the rewards of each prompt's samples, unscored ones left out.

    A prompt that is in several rounds has those of the last one in which a sample of it was scored. The variance of
    equal rewards is exactly 0.

    Returns:
        one row per prompt, in no particular order: prompt_id, mean, variance, and the round that they are of.
    """
    found = pl.DataFrame(schema=SCHEMA)
    for each in rounds:
        newer = _statistics(each)
        found = pl.concat([found.join(newer, on="prompt_id", how="anti"), newer])
    return found


def _statistics(each: Round) -> pl.DataFrame:
    frames = [pl.DataFrame(schema={"prompt_id": pl.String, "round": pl.Int32, "rewards": pl.List(pl.Float32)})]
    for index in range(each.groups.num_parts):
        part = each.groups.part(index, ["group_id", "prompt_id", "round"])
        rewards = each.rewards.aligned_part(part["group_id"], index, ["rewards"])["rewards"]
        frames.append(pl.DataFrame(pl.from_arrow(part.drop(["group_id"]).append_column("rewards", rewards))))
    reward = pl.col("rewards").cast(pl.Float64)
    is_constant = reward.min() == reward.max()
    return (
        pl.concat(frames)
        .explode("rewards")
        .drop_nulls("rewards")
        .group_by("prompt_id")
        .agg(
            pl.when(is_constant).then(reward.min()).otherwise(reward.mean()).alias("mean"),
            pl.when(is_constant).then(0.0).otherwise(reward.var(ddof=0)).alias("variance"),
            pl.col("round").max(),
        )
    )
