"""Filters: what is not trained on, one file each. A filter masks (null advantage); it never rewrites tokens or rewards.

A filter is a function from the options to a Polars expression on the flat view, true where a sequence is masked, or
None where the options do not ask for it. They are applied in the order of the two tables, each to what those before it
left:

- `BEFORE` the statistics: what is no fair draw of the policy, or cannot be compared. It has no reward for what follows:
  it counts in no μ and no σ.
- `AFTER` the statistics: what is a fair draw but not worth training on, or is chosen by the rewards themselves. It
  counts in μ and σ, which a choice by reward would bias.

Columns that filters read beside those of the flat view: `reward` (combined; null where unscored or masked before),
`combined` (before any mask), `advantage` (in AFTER), `newest_round`, and `group_id`, the key of the statistics.
`row` is the key of the group itself.
"""

from collections.abc import Callable, Mapping

import polars as pl

from grao_pipeline.advantages.filters import (
    duplicates,
    lengths,
    mean_reward,
    min_group_size,
    outliers,
    staleness,
    top_and_bottom,
    truncated,
    unscored,
    zero_variance,
)
from grao_pipeline.advantages.options import AdvantagesOptions

Filter = Callable[[AdvantagesOptions], pl.Expr | None]

BEFORE: Mapping[str, Filter] = {
    "staleness": staleness.masked,
    "unscored": unscored.masked,
    "truncated": truncated.masked,
    "too-short": lengths.too_short,
    "too-long": lengths.too_long,
    "duplicates": duplicates.masked,
    "outliers": outliers.masked,
    "min-group-size": min_group_size.masked,
}
AFTER: Mapping[str, Filter] = {
    "zero-variance": zero_variance.masked,
    "mean-reward": mean_reward.masked,
    "top-and-bottom": top_and_bottom.masked,
}


def active(filters: Mapping[str, Filter], options: AdvantagesOptions) -> dict[str, pl.Expr]:
    """The filters that the options ask for, in order."""
    expressions = {name: masked(options) for name, masked in filters.items()}
    return {name: expression for name, expression in expressions.items() if expression is not None}
