"""Rejection sampling: train on the best sample."""

import polars as pl

from grao_pipeline.advantages.estimators.base import counted_reward


def best_of_n(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """Â = 1 for the group's best sample; null for the other samples and for the reference.

    Best-of-n fine-tuning as in RAFT (arXiv 2304.06767). Among equals it is the first: one sample a group, so that every
    prompt weighs the same, and the same one each time. `statistics` makes no difference to the advantages; it still
    says which groups have no variance.
    """
    reward = counted_reward("samples")
    best = reward == reward.max().over("group_id")
    first = pl.when(best).then("sample_index").min().over("group_id")
    return pl.when(best & (pl.col("sample_index") == first)).then(1.0)
