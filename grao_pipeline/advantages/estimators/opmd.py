"""OPMD in the simple form that Trinity-RFT (arXiv 2505.17826) derives from Kimi k1.5 (arXiv 2501.12599)."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, group_mean
from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method


@method("arXiv 2505.17826", "Â = (R − μ) / (1 + tau)", options="--statistics samples")
class Opmd(Estimator):
    """(R − μ) / (1 + tau): the simple form of OPMD (Trinity-RFT, arXiv 2505.17826).

    With a plain likelihood as objective and `--statistics samples` these are the weights of the objective `opmd`. The
    reference gets an advantage by the same formula, and counts in μ with `samples_and_reference`.
    """

    class Arguments(PluginArguments):
        tau: float = argument(
            1.0, "Strength of the regularization towards the policy that sampled; here it only scales the step."
        )

    arguments: Arguments

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        return (REWARD - group_mean(statistics)) / (1.0 + self.arguments.tau)
