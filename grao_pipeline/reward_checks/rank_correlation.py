"""Spearman's rank correlation within groups: one number per group, so that groups of other prompts never mix."""

import math
from statistics import NormalDist

import numpy as np
import polars as pl


def within_groups(rows: pl.DataFrame, one: str, other: str) -> pl.DataFrame:
    """ρ of two columns in every group in which both vary; ties have their mean rank.

    Args:
        rows: one per sample, with `row` (of its group); a null in either column leaves the sample out.

    Returns:
        `row`, `correlation` and `size`, the number of samples, without the groups in which a column is constant.
    """
    ranks = rows.drop_nulls([one, other]).select(
        "row", *(pl.col(name).rank("average").over("row").alias(name) for name in (one, other))
    )
    varied = ranks.group_by("row", maintain_order=True).agg(
        pl.corr(one, other).alias("correlation"),
        pl.len().alias("size"),
        (pl.col(one).min() != pl.col(one).max()).alias("one"),
        (pl.col(other).min() != pl.col(other).max()).alias("other"),
    )
    return varied.filter(pl.col("one") & pl.col("other")).select("row", "correlation", "size")


def is_beyond_chance(correlations: pl.DataFrame, error: float) -> bool:
    """Whether the sum of the groups' ρ is larger, either way, than chance makes it with a probability of `error`.

    Where the two columns have nothing to do with each other, every order of a group's samples is as likely: ρ has the
    mean 0 and, whatever the ties, the variance 1 / (n − 1). Over many groups the sum is normal.
    """
    deviation = math.sqrt(float((1.0 / (correlations["size"] - 1)).sum()))
    return abs(float(correlations["correlation"].sum())) > NormalDist().inv_cdf(1.0 - error / 2) * deviation


def kappa(table: np.ndarray) -> float | None:
    """Cohen's κ of a square table of counts; None where chance alone would agree always."""
    total = table.sum()
    if total == 0:
        return None
    observed = np.trace(table) / total
    by_chance = float(table.sum(axis=0) @ table.sum(axis=1)) / float(total) ** 2
    return None if by_chance == 1.0 else float((observed - by_chance) / (1.0 - by_chance))
