"""GRPO's advantages scaled by hardness, after GRPO-S of DR-IRL."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, group_mean, group_std, standardized
from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method


@method(
    "after arXiv 2503.18991",
    "Â = α_D α_M (R − μ) / σ        α_D = σ(1 − similarity) / σ(its mean over the table)\n"
    "α_M = σ(g) / σ(mean of g over the table), g = the group's mean of R_y − R_i without outliers",
    needs="a rewarded reference, and --feature NAME=SCORES with the similarity to it",
    options="--feature NAME=TABLE",
)
class HardnessScaled(Estimator):
    """GRPO's advantage, larger where a sample is unlike the reference and where the reference is much better.

    Two descriptions of α_M contradict each other: the formula amplifies what is told apart already; `invert=yes`
    divides by it. A group without a rewarded reference has α_M = 1, and a sample without a similarity α_D = 1.
    """

    class Arguments(PluginArguments):
        similarity: str = argument(
            ..., "Name of a --feature in [0, 1]: how similar a sample is to the reference.", examples=["NAME"]
        )
        invert: bool = argument(False, "Divide by α_M instead of multiplying.")
        outliers: float = argument(3.0, "Gaps this many deviations of the table from its mean are left out.", gt=0.0)

    arguments: Arguments

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        gap = _gap()
        mean, std = pl.col("table_mean.gap"), pl.col("table_std.gap")
        usual = pl.when((gap - mean).abs() <= self.arguments.outliers * std).then(gap)
        of_gap = (_sigmoid(usual.mean().over("group_id")) / _sigmoid(mean)).fill_null(1.0)
        of_data = (_sigmoid(self._distance()) / _sigmoid(pl.col("table_mean.distance"))).fill_null(1.0)
        scale = of_data / of_gap if self.arguments.invert else of_data * of_gap
        return scale * standardized(REWARD - group_mean(statistics), group_std(statistics))

    def over_table(self, view: pl.DataFrame, *, statistics: str) -> dict[str, pl.Expr]:
        return {"gap": _gap(), "distance": self._distance()}

    def _distance(self) -> pl.Expr:
        is_sample = pl.col("source") == "sample"
        return pl.when(is_sample).then(1.0 - pl.col(f"feature.{self.arguments.similarity}").cast(pl.Float64))


def _gap() -> pl.Expr:
    """R_y − R_i of a sample; null for the reference and without one."""
    of_reference = pl.when(pl.col("source") == "reference").then(REWARD).max().over("group_id")
    return pl.when(pl.col("source") == "sample").then(of_reference - REWARD)


def _sigmoid(values: pl.Expr) -> pl.Expr:
    return 1.0 / (1.0 + (-values).exp())
