"""The advantage of GTPO: GRPO's plus a term of entropy."""

import math

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, group_mean, group_std, standardized
from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method


@method(
    "arXiv 2508.03772",
    "Â = (R − μ) / σ + gamma ℓ_b(o)        null where −ℓ_b(o) > limit ≥ start_entropy",
    needs="log-probs of the samples, drawn at temperature 1 with top_p 1",
    options="--token-weights conflicts",
)
class Gtpo(Estimator):
    """GRPO's advantage minus the entropy of the sample; samples of too high an entropy are not trained on.

    −ℓ_b is an estimate of the entropy of the policy that sampled, where the paper has the current one, and is biased
    unless tokens were drawn at temperature 1. The other half of GTPO is `--token-weights conflicts`.
    """

    class Arguments(PluginArguments):
        start_entropy: float = argument(
            ..., "Entropy at the start of the training, in nats per token.", ge=0.0, examples=[0.5]
        )
        gamma: float = argument(0.1, "Weight of the entropy.", ge=0.0)
        limit: float = argument(math.log(2.0), "Largest entropy of a sample, in nats per token.", gt=0.0)

    arguments: Arguments

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        likelihood = pl.col("mean_logprob").cast(pl.Float64)
        advantage = standardized(REWARD - group_mean(statistics), group_std(statistics))
        advantage = advantage + self.arguments.gamma * likelihood.fill_null(0.0)
        if self.arguments.start_entropy > self.arguments.limit:
            return advantage
        return pl.when((-likelihood > self.arguments.limit).fill_null(False)).then(None).otherwise(advantage)
