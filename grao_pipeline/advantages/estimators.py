"""Estimators: functions from the flat view to a Polars expression of the advantage.

An estimator `f(view, *, statistics)` reads column `reward` (the combined reward, null where unscored), `source` and
the other columns of the flat view, and returns one expression with one value per row; group statistics are
`.over("group_id")`. Null means: not trained on. Register one below, or pass `--estimator package.module:function`.
"""

import polars as pl

from grao_pipeline.errors import UsageError

ESTIMATORS = {"grao": "grao_pipeline.advantages.estimators:grao"}

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
    """μ: the mean of the group's counted rewards."""
    return counted_reward(statistics).mean().over("group_id")


def group_std(statistics: str) -> pl.Expr:
    """σ: the population standard deviation of the group's counted rewards; exactly 0 where they are all equal.

    Equality is decided on the rewards themselves, so rounding in the mean cannot turn equal rewards into a spread.
    """
    counted = counted_reward(statistics)
    equal = (counted.min() == counted.max()).over("group_id")
    deviation = counted - counted.mean().over("group_id")
    return pl.when(equal).then(0.0).otherwise((deviation**2).mean().over("group_id").sqrt())


def grao(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """GRAO's group-relative advantage, Â_s = (R_s − μ) / σ; exactly 0 where σ = 0 (arXiv 2508.07750, Eq. 4).

    Args:
        statistics: the sequences over which μ and σ are taken. `samples_and_reference`: o_1 … o_G and y.
            `samples`: Eq. 4 to the letter.
    """
    std = group_std(statistics)
    advantage = pl.when(std == 0.0).then(0.0).otherwise((REWARD - group_mean(statistics)) / std)
    return pl.when(REWARD.is_not_null()).then(advantage)
