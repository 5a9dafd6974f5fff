"""REINFORCE++ with baseline, arXiv 2501.03262."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, counted_reward, group_mean, standardized
from grao_pipeline.methods import method


@method(
    "arXiv 2501.03262",
    "Â = (R − μ) / σ_T        σ_T of R − μ over the whole table",
    options="--statistics samples",
)
class ReinforceBaseline(Estimator):
    """(R − μ) / σ_T with μ of the group and σ_T of R − μ over the whole table (arXiv 2501.03262).

    REINFORCE++-baseline: center within the group, normalize over the batch. The batch is the table of groups, however
    it is cut into parts. The mean of R − μ over the table is 0 by construction and is not subtracted; σ_T is the
    population standard deviation. (TRL's `scale_rewards="batch"` divides by the deviation of R instead.) The paper has
    no reference: `--statistics samples` gives its formula. The reference gets an advantage by the same formula, and
    counts in μ and σ_T with `samples_and_reference`.
    """

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        return standardized(REWARD - group_mean(statistics), pl.col("table_std"))

    def over_table(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        return counted_reward(statistics) - group_mean(statistics)
