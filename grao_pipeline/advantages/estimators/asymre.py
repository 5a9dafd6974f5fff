"""Asymmetric REINFORCE, arXiv 2506.20520."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, group_mean


def asymre(view: pl.DataFrame, *, statistics: str, delta_v: float = -0.1) -> pl.Expr:
    """Â_s = R_s − V, V = μ + δ_V: a baseline below the mean leans on successes (arXiv 2506.20520).

    With a plain likelihood as objective and `--statistics samples` these are the weights of the objective `asymre`. The
    reference has an advantage by the same formula, and counts in μ with `samples_and_reference`. Rewards that are all
    equal give −δ_V, not 0: such groups are masked unless `--keep-zero-variance`.

    Args:
        delta_v: on the rewards' scale; at 0 and above the paper shows a collapse of the policy's support.
    """
    return REWARD - (group_mean(statistics) + delta_v)
