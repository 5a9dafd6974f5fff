"""RED of the REC family: emphasis or selection by reward."""

from typing import Literal

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, Estimator, counted_reward, group_mean
from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method


@method(
    "arXiv 2509.24203",
    "kind=weight: Â = (R − μ) exp((R − μ) / temperature)\n"
    "kind=drop: samples with R < μ are dropped until they are as many as the others; Â = R − mean of what is left",
    options="--statistics samples",
)
class Red(Estimator):
    """Emphasizes successes by an exponential weight, or drops surplus failures (REC family).

    `drop` keeps the earliest failures: samples are exchangeable. It selects by reward before the mean is taken, so its
    baseline is biased, as in the paper. The reference is never dropped, and counts with `samples_and_reference`.
    """

    class Arguments(PluginArguments):
        kind: Literal["weight", "drop"] = argument("weight", "Weigh samples, or drop surplus failures.")
        temperature: float = argument(1.0, "Scale of the exponent, in units of the reward.", gt=0.0)

    arguments: Arguments

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        above_mean = REWARD - group_mean(statistics)
        if self.arguments.kind == "weight":
            return above_mean * (above_mean / self.arguments.temperature).exp()
        is_sample = pl.col("source") == "sample"
        is_low = is_sample & (above_mean < 0.0)
        num_others = (is_sample & (above_mean >= 0.0)).sum().over("group_id")
        place = pl.when(is_low).then("sample_index").rank("ordinal").over("group_id")
        stays = (~is_low | (place <= num_others)).fill_null(True)
        left = pl.when(stays).then(counted_reward(statistics))
        return pl.when(stays).then(REWARD - left.mean().over("group_id"))
