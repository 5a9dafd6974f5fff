"""One reward gives the sign, another one the size, after GDEPO."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator
from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method


@method(
    "after arXiv 2601.06795",
    "Â = +√((1 − p) / p) (1 + kappa z) for a right sequence, −√(p / (1 − p)) (1 − kappa z) for a wrong one\n"
    "p = the group's share of right ones, z = the auxiliary reward, standardized among the right or the wrong ones",
    needs="two columns: correct=reward.NAME or feature.NAME, and aux=…",
    options="--feature NAME=TABLE --feature OTHER=TABLE",
)
class SignedBy(Estimator):
    """Correctness decides the sign of an advantage, an auxiliary reward its size alone.

    Only the mechanism is known from the paper's abstract; kappa is ours. A factor never changes the sign. Sequences
    that lack one of the two are not trained on. Where all that count are right, or all wrong, the advantage is 0.
    """

    class Arguments(PluginArguments):
        correct: str = argument(
            ..., "Column with the correctness: reward.NAME or feature.NAME.", examples=["feature.NAME"]
        )
        aux: str = argument(
            ..., "Column with the auxiliary reward: reward.NAME or feature.NAME.", examples=["feature.OTHER"]
        )
        kappa: float = argument(0.25, "How much the auxiliary reward counts.", ge=0.0)
        threshold: float = argument(0.5, "From here on a sequence is right.")

    arguments: Arguments

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        correct, aux = (pl.col(name).cast(pl.Float64) for name in (self.arguments.correct, self.arguments.aux))
        is_known = correct.is_not_null() & aux.is_not_null() & REWARD.is_not_null()
        counts = is_known if statistics == "samples_and_reference" else is_known & (pl.col("source") == "sample")
        is_right = correct >= self.arguments.threshold
        share = pl.when(counts).then(is_right.cast(pl.Float64)).mean().over("group_id")
        advantage = pl.lit(None, dtype=pl.Float64)
        for side, sign, odds in ((is_right, 1.0, (1.0 - share) / share), (~is_right, -1.0, share / (1.0 - share))):
            values = pl.when(counts & side).then(aux)
            std = values.std(ddof=0).over("group_id")
            is_constant = (values.min() == values.max()).over("group_id").fill_null(True)
            z = pl.when(is_constant).then(0.0).otherwise((aux - values.mean().over("group_id")) / std)
            size = odds.sqrt() * (1.0 + sign * self.arguments.kappa * z).clip(0.0)
            size = pl.when(share.is_between(0.0, 1.0, closed="none")).then(size).otherwise(0.0)
            advantage = pl.when(is_known & side).then(sign * size).otherwise(advantage)
        return advantage
