"""What all combinations have in common.

- Only the rewards that apply to a sequence are combined (column `applies.<name>`), as if there were no others; a
  sequence that lacks one of them, or to which none applies, has no combined reward: it is null, and counts in no
  statistic of its group.
- The computation is in float64 and is rounded once to float32, the precision in which rewards are stored: combined
  rewards that differ only by rounding become equal, so that a group of equal rewards has a variance of exactly 0.
- "group" means the samples and the reference of one prompt.
"""

from collections.abc import Mapping, Sequence

import polars as pl

Weights = Mapping[str, float]


def reward_named(name: str) -> pl.Expr:
    return pl.col(f"reward.{name}").cast(pl.Float64)


def applies(name: str) -> pl.Expr:
    return pl.col(f"applies.{name}")


def weighted(weights: Weights) -> dict[str, pl.Expr]:
    return {name: reward_named(name) * weight for name, weight in weights.items()}


def terms(weights: Weights) -> list[pl.Expr]:
    """The weighted rewards, 0 where one does not apply; for sequences that are complete."""
    return [reward.fill_null(0.0) for reward in weighted(weights).values()]


def complete(weights: Weights) -> pl.Expr:
    """Whether a sequence has all the rewards that apply to it, and at least one."""
    has_all = all_of([pl.col(f"reward.{name}").is_not_null() | ~applies(name) for name in weights])
    return has_all & pl.any_horizontal(*(applies(name) for name in weights))


def number_of(weights: Weights) -> pl.Expr:
    """How many of the rewards apply to a sequence."""
    return pl.sum_horizontal(*(applies(name).cast(pl.Float64) for name in weights))


def all_of(conditions: Sequence[pl.Expr]) -> pl.Expr:
    return pl.all_horizontal(*conditions) if conditions else pl.lit(True)


def total(parts: Sequence[pl.Expr]) -> pl.Expr:
    """Part by part from the left, so that the result has the same bits everywhere."""
    result = parts[0]
    for part in parts[1:]:
        result = result + part
    return result
