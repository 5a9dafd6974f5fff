r"""An advantage estimator of your own: the distance from the group's median, for rewards with outliers.

    grao advantages runs/groups runs/advantages --scores runs/scores \
        --estimator examples.custom_estimator:Median --estimator-arg scale=0.5

An estimator is one expression over the flat view: a row per sequence, the reference too, with its combined `reward`
(null where it has none) and its `group_id`. Nothing is read or written here, and nothing is looped over.
"""

import polars as pl
from pydantic import PositiveFloat

from grao_pipeline import Estimator, PluginArguments, argument
from grao_pipeline.advantages.estimators.base import REWARD, counted_reward


class Median(Estimator):
    """(R − median) / scale: one extreme reward moves no other sequence's advantage."""

    class Arguments(PluginArguments):
        scale: PositiveFloat = argument(1.0, "Distance from the median that is an advantage of 1.")

    arguments: Arguments

    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        """The advantage of every row.

        Args:
            statistics: the sequences that count: `samples_and_reference` or `samples`.
        """
        median = counted_reward(statistics).median().over("group_id")
        return (REWARD - median) / self.arguments.scale
