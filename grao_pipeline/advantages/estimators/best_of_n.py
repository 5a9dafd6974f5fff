"""Rejection sampling: train on the best sample."""

import polars as pl

from grao_pipeline.advantages.estimators.base import Estimator, counted_reward
from grao_pipeline.methods import method


@method("arXiv 2304.06767", "Â = 1 for the best sample of the group; the others are not trained on")
class BestOfN(Estimator):
    """1 for the best sample of the group, null for the other samples and the reference (RAFT, arXiv 2304.06767).

    Of equally good samples the first is chosen: one sample per group, so that every prompt has the same weight, and
    always the same one. `statistics` has no influence on the advantages; it still decides which groups have zero
    variance.
    """

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        reward = counted_reward("samples")
        best = reward == reward.max().over("group_id")
        first = pl.when(best).then("sample_index").min().over("group_id")
        return pl.when(best & (pl.col("sample_index") == first)).then(1.0)
