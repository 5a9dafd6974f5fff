"""Order statistics instead of rewards."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, counted_reward


def rank(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """Â_s = mean over the other counted sequences t of sign(R_s − R_t), in [−1, 1]; 0 where there are none.

    For those that count it is 2 (r − 1) / (n − 1) − 1 with r their rank, ties sharing the mean of theirs: the centred
    ranks of evolution strategies (arXiv 1703.03864, 2.1) on [−1, 1]. Whatever keeps the order of the rewards keeps the
    advantages; equal rewards give exactly 0. The reference is compared with the samples whatever the statistics; with
    `samples_and_reference` the samples are compared with it too.
    """
    counted = counted_reward(statistics)
    return (
        pl.when(counted.is_not_null())
        .then(_centred_rank(counted))
        .when(REWARD.is_not_null())
        .then(_centred_rank(REWARD))
    )


def _centred_rank(values: pl.Expr) -> pl.Expr:
    ranks = values.rank("average").over("group_id") - 1.0
    others = values.count().over("group_id").cast(pl.Float64) - 1.0
    return pl.when(others > 0.0).then((2.0 * ranks - others) / others).otherwise(0.0)
