"""REINFORCE++ with baseline, arXiv 2501.03262."""

import polars as pl

from grao_pipeline.advantages.estimators.base import REWARD, counted_reward, group_mean, standardised


def centred(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """R_s − μ of the sequences that count."""
    return counted_reward(statistics) - group_mean(statistics)


def reinforce_baseline(view: pl.DataFrame, *, statistics: str) -> pl.Expr:
    """Â_s = (R_s − μ) / σ_T: μ of the group, σ_T the population standard deviation of R − μ over the whole table.

    REINFORCE++-baseline (arXiv 2501.03262): centre in the group, normalise over the batch. The batch is the table of
    groups, however it is cut into parts; the mean of R − μ over it is 0 by construction and is not subtracted. (TRL's
    `scale_rewards="batch"` divides by the deviation of R instead.) The paper knows no reference: `--statistics samples`
    is its formula. The reference has an advantage by the same formula, and counts in μ and σ_T with
    `samples_and_reference`.
    """
    return standardised(REWARD - group_mean(statistics), pl.col("table_std"))


reinforce_baseline.over_table = centred  # type: ignore[attr-defined]
