"""RLOO, arXiv 2402.14740."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, counted_reward, group_mean, group_size
from grao_pipeline.methods import method


@method("arXiv 2402.14740", "Â_i = R_i − mean of R_j over j ≠ i", options="--statistics samples")
class Rloo(Estimator):
    """R − the mean of the other counted rewards = n / (n − 1) · (R − μ); 0 without others (arXiv 2402.14740, Eq. 5).

    Leave-one-out REINFORCE, as in TRL's RLOOTrainer. The paper has no reference: `--statistics samples` gives its
    formula, and the reference's baseline is then the mean of all samples. With `samples_and_reference` the reference is
    one of the n.
    """

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        size = group_size(statistics)
        centered = REWARD - group_mean(statistics)
        leave_one_out = pl.when(size > 1).then(centered * size / (size - 1)).otherwise(0.0)
        is_counted = counted_reward(statistics).is_not_null()
        return pl.when(is_counted).then(leave_one_out).when(REWARD.is_not_null()).then(centered)
