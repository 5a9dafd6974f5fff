"""The statistics that estimators share. All are expressions over the flat view, in float64.

`statistics` names the sequences that count: `samples_and_reference` (o_1 … o_G and y) or `samples`. A sequence without
a reward counts nowhere.
"""

import polars as pl

from grao_pipeline.errors import UsageError

REWARD = pl.col("reward").cast(pl.Float64)


def counted_reward(statistics: str) -> pl.Expr:
    """The reward where a row counts for the group's statistics, null elsewhere.

    Raises:
        UsageError: `statistics` is neither `samples_and_reference` nor `samples`.
    """
    if statistics == "samples_and_reference":
        return REWARD
    if statistics == "samples":
        return pl.when(pl.col("source") == "sample").then(REWARD)
    raise UsageError(f"statistics {statistics!r}: allowed are samples_and_reference and samples.")


def group_mean(statistics: str) -> pl.Expr:
    """μ: the mean of the group's counted rewards; of equal rewards exactly their value, so that R − μ is exactly 0."""
    counted = counted_reward(statistics)
    lowest = counted.min().over("group_id")
    equal = lowest == counted.max().over("group_id")
    return pl.when(equal).then(lowest).otherwise(counted.mean().over("group_id"))


def group_std(statistics: str) -> pl.Expr:
    """σ: the population standard deviation of the group's counted rewards; exactly 0 where they are all equal.

    Equality is decided on the rewards themselves, so rounding in the mean cannot turn equal rewards into a spread.
    """
    counted = counted_reward(statistics)
    equal = counted.min().over("group_id") == counted.max().over("group_id")
    return pl.when(equal).then(0.0).otherwise(counted.std(ddof=0).over("group_id"))


def group_size(statistics: str) -> pl.Expr:
    """n: how many sequences of the group count."""
    return counted_reward(statistics).count().over("group_id")


def standardised(values: pl.Expr, std: pl.Expr) -> pl.Expr:
    """values / std; exactly 0 where std = 0, null where there is no reward."""
    quotient = pl.when(std == 0.0).then(0.0).otherwise(values / std)
    return pl.when(REWARD.is_not_null()).then(quotient)
