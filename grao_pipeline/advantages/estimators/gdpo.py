"""GDPO, arXiv 2601.05242."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, counted_reward, standardized
from grao_pipeline.methods import method


@method(
    "arXiv 2601.05242",
    "Â = S / σ_T        S = Σ_k w_k (R_k − μ_k) / σ_k, σ_T of S over the whole table",
    needs="several scores",
    options="--combine normalize",
)
class Gdpo(Estimator):
    """S / σ_T with S = Σ_k w_k (R_k − μ_k) / σ_k, and σ_T of S over the whole table (arXiv 2601.05242).

    S is the combined reward of `--combine normalize`, which this estimator needs. The mean of S over the table is 0 by
    construction and is not subtracted, so that a group of equal rewards gives exactly 0. σ_k and σ_T are those of the
    population (TRL's `normalize_then_sum` uses n − 1, and adds 1e-4 to each). The paper has no reference: `--statistics
    samples` gives its formula. The reference gets an advantage by the same formula, and counts with
    `samples_and_reference`.
    """

    needs_combination = "normalize"

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        return standardized(REWARD, pl.col("table_std"))

    def over_table(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        return counted_reward(statistics)
