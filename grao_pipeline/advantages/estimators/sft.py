"""Supervised fine-tuning."""

import polars as pl

from grao_pipeline.advantages.estimators.base import Estimator
from grao_pipeline.methods import method


@method("the likelihood of references", "Â_y = 1; samples are not trained on", needs="a reference")
class Sft(Estimator, uses_rewards=False):
    """1 for the reference and null for the samples: supervised fine-tuning.

    No reward or statistic plays a part: a group with zero variance is not masked, and a reference without a reward is
    trained on.
    """

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        return pl.when(pl.col("source") == "reference").then(1.0)
