"""GRAO, arXiv 2508.07750."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, group_mean, group_std, standardised


def grao(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """GRAO's group-relative advantage, Â_s = (R_s − μ) / σ; exactly 0 where σ = 0 (arXiv 2508.07750, Eq. 4).

    σ is that of the population. The reference has an advantage by the same formula.

    Args:
        statistics: the sequences over which μ and σ are taken. `samples_and_reference`: o_1 … o_G and y.
            `samples`: Eq. 4 to the letter.
    """
    return standardised(REWARD - group_mean(statistics), group_std(statistics))
