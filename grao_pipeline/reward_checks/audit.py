"""`grao audit`: what a reward pays for within groups, by round, and what a second reward says of its favorites."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from grao_pipeline import notes
from grao_pipeline.advantages.flat_view import columns_to_read, flat_view
from grao_pipeline.evaluation.intervals import Estimate, bootstrap_mean
from grao_pipeline.progress import SILENT, Bar, Progress
from grao_pipeline.reward_checks.features import FEATURES, OF_TEXT
from grao_pipeline.reward_checks.options import AuditOptions
from grao_pipeline.reward_checks.rank_correlation import is_beyond_chance, within_groups
from grao_pipeline.storage.table_pair import TablePair, refuse_other_sample_counts

RESAMPLES = 10_000
FEWEST_GROUPS = 10
"""Of fewer groups no correlation is flagged."""


@dataclass(frozen=True)
class FeatureRow:
    """A feature of the samples of one round.

    Attributes:
        mean: of the feature over the samples.
        correlation: mean over groups of Spearman's ρ of feature and reward, with its bootstrap interval; None where no
            group has both varying.
        groups: that have a ρ.
        flagged: the correlation is beyond chance, and at least the threshold.
    """

    round: int
    feature: str
    mean: float
    correlation: float | None
    low: float | None
    high: float | None
    groups: int
    flagged: bool


@dataclass(frozen=True)
class SecondReward:
    """The second reward of the sample with the highest first reward, less its group's mean, in the group's standard
    deviations. Of several such samples the mean counts."""

    value: float
    low: float
    high: float
    groups: int
    flagged: bool
    """The interval is below 0: what is pushed up most is worse than the average sample."""


@dataclass(frozen=True)
class AuditSummary:
    """What a reward pays for."""

    rows: list[FeatureRow]
    second: SecondReward | None
    flags: int
    notes: list[str] = field(default_factory=list)

    def for_people(self) -> dict[str, object]:
        """One line per round and feature; flags are notes."""
        lines = [
            {
                "round": row.round,
                "feature": row.feature,
                "mean": row.mean,
                "correlation": None if row.correlation is None else f"{row.correlation:+.3f}",
                "interval": None if row.low is None or row.high is None else f"{row.low:+.3f}, {row.high:+.3f}",
                "groups": row.groups,
                "flag": "flag" if row.flagged else "",
            }
            for row in self.rows
        ]
        second = self.second and f"{self.second.value:+.3f} [{self.second.low:+.3f}, {self.second.high:+.3f}]"
        return {"correlations": lines, "second_reward": second, "flags": self.flags, "notes": self.notes}


def audit_scores(groups_url: str, scores_url: str, options: AuditOptions, progress: Progress = SILENT) -> AuditSummary:
    """Correlate a reward with features of the texts within groups, in every round that is given.

    A reward that pays for none of the features is flagged in at most 1 − confidence of all audits: each feature of each
    round is tested at a share of it (Bonferroni).

    Example:
        audit_scores("r1/groups", "r1/scores", AuditOptions(history=[("r0/groups", "r0/scores")])).notes

    Raises:
        MismatchError: scores of other groups.
    """
    pairs = [
        TablePair.open(groups, scores, "scores") for groups, scores in [*options.history, (groups_url, scores_url)]
    ]
    second = TablePair.open(groups_url, options.second, "scores") if options.second is not None else None
    num_parts = sum(pair.groups.num_parts for pair in pairs) + (second.groups.num_parts if second else 0)
    error = (1.0 - options.confidence) / (len(pairs) * len(FEATURES))
    with progress.track("auditing rewards", num_parts, "parts") as bar:
        rounds = sorted((_read(pair, bar) for pair in pairs), key=lambda rows: rows.number)
        rows = [_feature_row(part, name, error, options) for part in rounds for name in FEATURES]
        favorites = _favorites(pairs[-1], second, bar, options.confidence) if second else None
    flags = [_flag(row, rows) for row in rows if row.flagged]
    if favorites is not None and favorites.flagged:
        flags.append(
            f"The samples that this reward likes best are worse than the average of their group by the second reward: "
            f"{favorites.value:+.2f} [{favorites.low:+.2f}, {favorites.high:+.2f}] standard deviations over "
            f"{favorites.groups} groups. Read some of them before training on this reward."
        )
    constant = [part for part in rounds if not part.varies]
    remarks = [
        remark
        for part in constant
        for remark in notes.constant_rewards(f"The reward of round {part.number}", part.samples["row"].n_unique())
    ]
    return AuditSummary(rows, favorites, len(flags), [*flags, *remarks])


@dataclass(frozen=True)
class _Round:
    number: int
    samples: pl.DataFrame
    """`row`, `reward` and the features, one line per sample."""

    @property
    def varies(self) -> bool:
        """Whether the reward distinguishes the samples of any group."""
        ranges = self.samples.group_by("row").agg(pl.col("reward").max() - pl.col("reward").min())
        return bool((ranges["reward"] > 0).any())


def _read(pair: TablePair, bar: Bar) -> _Round:
    frames, first, number = [], 0, 0
    columns = ["round", "completions", *columns_to_read(["num_tokens"])]
    for groups, scores in pair.parts(columns, ["rewards", "reference_reward"]):
        refuse_other_sample_counts(groups, scores, pair.companion.url)
        frames.append(_samples(groups, scores, first))
        first += groups.num_rows
        number = max([number, *groups.column("round").to_pylist()])
        bar.advance(1, groups=first)
    return _Round(number, pl.concat(frames))


def _samples(groups: pa.Table, scores: pa.Table, first_row: int) -> pl.DataFrame:
    view = flat_view(groups, {}, ["row", "num_tokens", "source"]).filter(pl.col("source") == "sample")
    texts = [text for completions in groups.column("completions").to_pylist() for text in completions]
    rewards = [reward for of_group in scores.column("rewards").to_pylist() for reward in of_group]
    return pl.DataFrame(
        {
            "row": view["row"].cast(pl.Int64) + first_row,
            "reward": pl.Series(rewards, dtype=pl.Float64),
            "tokens": view["num_tokens"].cast(pl.Float64),
            **{name: pl.Series(map(feature, texts), dtype=pl.Float64) for name, feature in OF_TEXT.items()},
        }
    )


def _feature_row(part: _Round, name: str, error: float, options: AuditOptions) -> FeatureRow:
    correlations = within_groups(part.samples, "reward", name)
    mean = part.samples[name].mean()
    estimate = bootstrap_mean(correlations["correlation"].to_list(), options.confidence, RESAMPLES, 0)
    average = float(mean) if isinstance(mean, float) else 0.0
    if estimate is None:
        return FeatureRow(part.number, name, average, None, None, None, 0, False)
    is_large = estimate.n >= FEWEST_GROUPS and abs(estimate.value) >= options.threshold
    flagged = is_large and is_beyond_chance(correlations, error)
    return FeatureRow(part.number, name, average, estimate.value, estimate.low, estimate.high, estimate.n, flagged)


def _favorites(first: TablePair, second: TablePair, bar: Bar, confidence: float) -> SecondReward | None:
    values: list[float] = []
    for (_, one), (_, other) in zip(first.parts([], ["rewards"]), second.parts([], ["rewards"]), strict=True):
        for rewards, judged in zip(one.column("rewards").to_pylist(), other.column("rewards").to_pylist(), strict=True):
            both = [pair for pair in zip(rewards, judged, strict=True) if None not in pair]
            values += _favorite(np.array(both, dtype=np.float64)) if both else []
        bar.advance(1)
    estimate: Estimate | None = bootstrap_mean(values, confidence, RESAMPLES, 0)
    if estimate is None:
        return None
    flagged = estimate.n >= FEWEST_GROUPS and estimate.high < 0
    return SecondReward(estimate.value, estimate.low, estimate.high, estimate.n, flagged)


def _favorite(both: np.ndarray) -> list[float]:
    """Of one group: its favorite's second reward, standardized; nothing where a reward is constant."""
    first, second = both[:, 0], both[:, 1]
    if first.min() == first.max() or second.min() == second.max():
        return []
    return [float((second[first == first.max()].mean() - second.mean()) / second.std())]


def _flag(row: FeatureRow, rows: Sequence[FeatureRow]) -> str:
    assert row.correlation is not None
    assert row.low is not None
    assert row.high is not None
    course = [f"{other.mean:.4g} in round {other.round}" for other in rows if other.feature == row.feature]
    moved = f" Its mean: {', '.join(course)}." if len(course) > 1 else ""
    direction = "rises" if row.correlation > 0 else "falls"
    return (
        f"Round {row.round}: within groups the reward {direction} with {row.feature}: rank correlation "
        f"{row.correlation:+.2f} [{row.low:+.2f}, {row.high:+.2f}] over {row.groups} groups.{moved} If "
        "that is not what the reward is for, score a second reward, or a penalty (--reward length), next to it."
    )
