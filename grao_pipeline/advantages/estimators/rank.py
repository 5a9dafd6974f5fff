"""Order statistics instead of rewards."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, counted_reward
from grao_pipeline.methods import method


@method(
    "arXiv 1703.03864, section 2.1; 2401.04056",
    "Â_i = mean of sign(R_i − R_j) over j ≠ i",
    options="--statistics samples",
)
class Rank(Estimator):
    """The mean of sign(R − R_t) over the other counted sequences t, in [−1, 1]: centered ranks (arXiv 1703.03864, 2.1).

    For a counted sequence it is 2 (r − 1) / (n − 1) − 1, where r is the rank and equal rewards share the mean of their
    ranks. Any change of the rewards that keeps their order keeps the advantages. Equal rewards give exactly 0, and so
    does a group without other counted sequences. The reference is compared with the samples for both statistics; with
    `samples_and_reference` the samples are compared with the reference as well.
    """

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        counted = counted_reward(statistics)
        return (
            pl.when(counted.is_not_null())
            .then(_centered_rank(counted))
            .when(REWARD.is_not_null())
            .then(_centered_rank(REWARD))
        )


def _centered_rank(values: pl.Expr) -> pl.Expr:
    ranks = values.rank("average").over("group_id") - 1.0
    num_others = values.count().over("group_id").cast(pl.Float64) - 1.0
    return pl.when(num_others > 0.0).then((2.0 * ranks - num_others) / num_others).otherwise(0.0)
