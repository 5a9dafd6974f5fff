"""GRAO, arXiv 2508.07750."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, group_mean, group_std, standardized
from grao_pipeline.methods import method


@method("arXiv 2508.07750", "Â = (R − μ) / σ")
class Grao(Estimator):
    """(R − μ) / σ: the group-relative advantage of GRAO; exactly 0 where σ = 0 (arXiv 2508.07750).

    σ is that of the population. The reference gets an advantage by the same formula. With `--statistics samples`, μ and
    σ are those of Eq. 4 to the letter; by default the reference counts in them.
    """

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        return standardized(REWARD - group_mean(statistics), group_std(statistics))
