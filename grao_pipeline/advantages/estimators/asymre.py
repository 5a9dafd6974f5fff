"""Asymmetric REINFORCE, arXiv 2506.20520."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, group_mean
from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method


@method("arXiv 2506.20520", "Â = R − (μ + delta_v)", options="--statistics samples --keep-zero-variance")
class Asymre(Estimator):
    """R − (μ + delta_v): a baseline below the mean puts more weight on successes (arXiv 2506.20520).

    With a plain likelihood as objective and `--statistics samples` these are the weights of the objective `asymre`. The
    reference gets an advantage by the same formula, and counts in μ with `samples_and_reference`. Equal rewards give
    −delta_v, not 0: such groups are masked unless `--keep-zero-variance`.
    """

    class Arguments(PluginArguments):
        delta_v: float = argument(
            -0.1,
            "Shift of the baseline, on the scale of the rewards. At 0 and above the policy's support can collapse.",
        )

    arguments: Arguments

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        return REWARD - (group_mean(statistics) + self.arguments.delta_v)
