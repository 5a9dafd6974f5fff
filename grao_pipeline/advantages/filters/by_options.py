"""Filters: which sequences are not trained on. A filter masks: the advantage becomes null; tokens and rewards stay.

`FILTERS` lists them in the order in which they are applied, each to the sequences that the previous ones left.

- *before* the statistics: sequences that are not fair draws of the policy or cannot be compared. Their reward is null
  from then on: they count in no μ and no σ.
- *after* the statistics: fair draws that are not worth training on, or are selected by their rewards. They count in μ
  and σ, which a selection by reward would bias.

An expression may read, in addition to the columns of the flat view: `reward` (combined; null where unscored or masked),
`combined` (the same before any filter), `std` and `advantage` (after the statistics alone), `newest_round`, and
`group_id`, the key of the statistics. `row` is the key of the group itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions

Phase = Literal["before", "after"]

IS_SAMPLE = pl.col("source") == "sample"
IS_TRUNCATED = (pl.col("finish_reason") == "length").fill_null(False)
SAMPLE_REWARD = pl.when(IS_SAMPLE).then(pl.col("reward").cast(pl.Float64))

# The median absolute deviation of a normal distribution is 1 / 1.4826 of its standard deviation.
NORMAL = 1.4826


@dataclass(frozen=True)
class Filter:
    """One filter.

    Example: `Filter("too-short", "Samples of fewer tokens.", "before", ("min_tokens",), "--min-tokens 4", too_short)`
    """

    name: str
    help: str
    """Which sequences it masks."""
    phase: Phase
    options: tuple[str, ...]
    """The fields of AdvantagesOptions that switch it on."""
    example: str
    """Words of a command that switch it on."""
    expression: Callable[[AdvantagesOptions], pl.Expr | None]
    """True where a sequence is masked; None where the options do not switch the filter on."""
    replacement: float | None = None
    """The advantage that the selected sequences get; None masks them."""
    is_about_rewards: bool = False
    """Whether it is left out for an estimator that uses no rewards."""


def stale(options: AdvantagesOptions) -> pl.Expr | None:
    """In a pool, stale groups count in no statistic either."""
    if options.max_rounds_behind is None:
        return None
    return pl.col("newest_round") - pl.col("round") > options.max_rounds_behind


def unscored(options: AdvantagesOptions) -> pl.Expr | None:
    """An unscored sample itself is never trained on, with or without this filter."""
    return (IS_SAMPLE & pl.col("combined").is_null()).any().over("row") if options.unscored == "group" else None


def truncated(options: AdvantagesOptions) -> pl.Expr | None:
    return IS_TRUNCATED if options.truncated == "drop" else None


def too_short(options: AdvantagesOptions) -> pl.Expr | None:
    return None if options.min_tokens is None else IS_SAMPLE & (pl.col("num_tokens") < options.min_tokens)


def too_long(options: AdvantagesOptions) -> pl.Expr | None:
    return None if options.max_tokens is None else IS_SAMPLE & (pl.col("num_tokens") > options.max_tokens)


def duplicates(options: AdvantagesOptions) -> pl.Expr | None:
    """Equal token IDs, since these are trained on: samples with equal texts and other tokens differ."""
    return pl.col("duplicate") if options.duplicates == "drop" else None


def outliers(options: AdvantagesOptions) -> pl.Expr | None:
    """|R − median| > K · 1.4826 · MAD; median and MAD, the median of |R − median|, are those of the group's samples.

    Where MAD = 0, at least half of the samples have the same reward and there is no scale: nothing is masked, so that
    the one success among failures stays.
    """
    if options.max_deviations is None:
        return None
    distance = (SAMPLE_REWARD - SAMPLE_REWARD.median().over("row")).abs()
    mad = distance.median().over("row")
    return ((mad > 0.0) & (distance > options.max_deviations * NORMAL * mad)).fill_null(False)


def min_group_size(options: AdvantagesOptions) -> pl.Expr | None:
    if options.min_group_size is None:
        return None
    return (IS_SAMPLE & pl.col("reward").is_not_null()).sum().over("row") < options.min_group_size


def zero_variance(options: AdvantagesOptions) -> pl.Expr | None:
    """A group without any counted reward is masked as well."""
    return None if options.keep_zero_variance else (pl.col("std") == 0.0).fill_null(True)


def mean_reward(options: AdvantagesOptions) -> pl.Expr | None:
    """The mean of the samples alone, whatever the statistics; with a pool, of the pool's samples."""
    if options.min_mean_reward is None and options.max_mean_reward is None:
        return None
    mean = SAMPLE_REWARD.mean().over("group_id")
    is_outside = pl.lit(False)
    if options.min_mean_reward is not None:
        is_outside = is_outside | (mean < options.min_mean_reward)
    if options.max_mean_reward is not None:
        is_outside = is_outside | (mean > options.max_mean_reward)
    return is_outside.fill_null(False)


def top_and_bottom(options: AdvantagesOptions) -> pl.Expr | None:
    """Of equal rewards the earlier sample is preferred. The reference is never masked."""
    if options.top_k is None and options.bottom_k is None:
        return None
    reward = pl.when(IS_SAMPLE & pl.col("advantage").is_not_null()).then("reward")
    is_kept = pl.lit(False)
    for count, descending in ((options.top_k, True), (options.bottom_k, False)):
        if count is not None:
            is_kept = is_kept | (reward.rank("ordinal", descending=descending).over("row") <= count)
    return IS_SAMPLE & ~is_kept.fill_null(False)


def truncated_to_zero(options: AdvantagesOptions) -> pl.Expr | None:
    return IS_TRUNCATED if options.truncated == "zero" else None


FILTERS = (
    Filter(
        "staleness",
        "Groups too many rounds older than the newest.",
        "before",
        ("max_rounds_behind",),
        "--max-rounds-behind 2",
        stale,
    ),
    Filter("unscored", "Groups with an unscored sample.", "before", ("unscored",), "--unscored group", unscored),
    Filter(
        "truncated", "Samples that ended at the token limit.", "before", ("truncated",), "--truncated drop", truncated
    ),
    Filter("too-short", "Samples with too few tokens.", "before", ("min_tokens",), "--min-tokens 4", too_short),
    Filter("too-long", "Samples with too many tokens.", "before", ("max_tokens",), "--max-tokens 512", too_long),
    Filter(
        "duplicates",
        "Samples equal to an earlier one of the group.",
        "before",
        ("duplicates",),
        "--duplicates drop",
        duplicates,
    ),
    Filter(
        "outliers",
        "Samples with a reward far from the group's median.",
        "before",
        ("max_deviations",),
        "--max-deviations 3",
        outliers,
    ),
    Filter(
        "min-group-size",
        "Groups with too few samples left.",
        "before",
        ("min_group_size",),
        "--min-group-size 2",
        min_group_size,
    ),
    Filter(
        "zero-variance",
        "Groups whose rewards are all equal.",
        "after",
        ("keep_zero_variance",),
        "--no-keep-zero-variance",
        zero_variance,
        is_about_rewards=True,
    ),
    Filter(
        "mean-reward",
        "Groups that are too hard or too easy.",
        "after",
        ("min_mean_reward", "max_mean_reward"),
        "--min-mean-reward 0.1 --max-mean-reward 0.9",
        mean_reward,
    ),
    Filter(
        "top-and-bottom",
        "Samples neither among the best nor the worst of the group.",
        "after",
        ("top_k", "bottom_k"),
        "--top-k 2 --bottom-k 2",
        top_and_bottom,
    ),
    Filter(
        "truncated-to-zero",
        "Samples that ended at the token limit: an advantage of 0 instead of a mask.",
        "after",
        ("truncated",),
        "--truncated zero",
        truncated_to_zero,
        replacement=0.0,
    ),
)


def active_filters(
    options: AdvantagesOptions, phase: Phase, uses_rewards: bool = True
) -> Iterator[tuple[Filter, pl.Expr]]:
    """The filters that the options switch on, in the order of application, with their expressions.

    Args:
        uses_rewards: whether the estimator uses rewards.
    """
    for candidate in FILTERS:
        expression = candidate.expression(options)
        applies = candidate.phase == phase and (uses_rewards or not candidate.is_about_rewards)
        if expression is not None and applies:
            yield candidate, expression
