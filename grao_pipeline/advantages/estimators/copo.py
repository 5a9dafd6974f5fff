"""COPO: local advantages where the group's answers differ, global ones where they agree."""

from typing import Literal

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, counted_reward, group_mean
from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method

EPSILON = 1e-6


@method(
    "arXiv 2508.04138 and its code",
    "Â = w (R − μ) / (s + ε) + (1 − w) (μ − mean of all μ) / (std of all μ + ε)        w = σ(gamma (H − rho))\n"
    "H = the entropy of the group's answers in bits; n − 1 in both deviations; ε = 1e-6",
    needs="for answers=NAME: --feature NAME=SCORES of the reward self-consistency",
    options="--keep-zero-variance --statistics samples",
)
class Copo(Estimator):
    """Blends the advantage within the group with that of the group among all groups, by how much its answers differ.

    With the paper's constants two answers (at most 1 bit) always give w < 5e-5: only groups with three answers and more
    train locally. The released script has gamma=5, rho=1, zero=global and six samples. Where the two advantages differ
    in sign, the blend of advantages is not the paper's blend of clipped losses; for GRAO's likelihood it is.
    """

    class Arguments(PluginArguments):
        answers: str | None = argument(
            None,
            "Name of a --feature: the share of the group's samples with the same answer. By default equal rewards.",
        )
        gamma: float = argument(20.0, "Steepness of the weight.", gt=0.0)
        rho: float = argument(1.5, "Entropy at which both advantages count alike, in bits.")
        zero: Literal["blend", "global"] = argument("blend", "Whether samples with reward 0 get the global one alone.")

    arguments: Arguments

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        mean = group_mean(statistics)
        counted = counted_reward(statistics)
        local = (REWARD - mean) / (counted.std(ddof=1).over("group_id").fill_null(0.0) + EPSILON)
        count, std = pl.col("table_count.group"), pl.col("table_std.group")
        sample_std = pl.when(count > 1.0).then(std * (count / (count - 1.0)).sqrt()).otherwise(0.0)
        over_table = (mean - pl.col("table_mean.group")) / (sample_std + EPSILON)
        weight = 1.0 / (1.0 + (-self.arguments.gamma * (self._entropy() - self.arguments.rho)).exp())
        if self.arguments.zero == "global":
            weight = pl.when((pl.col("source") == "sample") & (REWARD == 0.0)).then(0.0).otherwise(weight)
        return pl.when(REWARD.is_not_null()).then(weight * local + (1.0 - weight) * over_table)

    def over_table(self, view: pl.DataFrame, *, statistics: str) -> dict[str, pl.Expr]:
        counted = counted_reward(statistics).is_not_null()
        is_first = counted & (counted.cum_sum().over("group_id") == 1)
        return {"group": pl.when(is_first).then(group_mean(statistics))}

    def _entropy(self) -> pl.Expr:
        """Of the group's answers, in bits: the mean of −log2 of each sample's share."""
        is_counted = (pl.col("source") == "sample") & REWARD.is_not_null()
        if self.arguments.answers is not None:
            share = pl.col(f"feature.{self.arguments.answers}").cast(pl.Float64)
        else:
            size = is_counted.sum().over("group_id")
            share = is_counted.sum().over("group_id", "reward").cast(pl.Float64) / size
        return pl.when(is_counted).then(-share.log(2.0)).mean().over("group_id").fill_null(0.0)
