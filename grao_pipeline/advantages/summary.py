"""What `grao advantages` computed: counts over the whole table, and what they mean for the training."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from grao_pipeline import notes
from grao_pipeline.advantages.recipe import Masked, Recipe, RecipeResult, count_groups
from grao_pipeline.errors import InputError


@dataclass
class RewardCounts:
    """The samples' rewards of one scores table."""

    reward: str
    weight: float
    scored: int = 0
    not_applicable: int = 0
    unscored: int = 0
    """Samples that lack the reward although it is meant for them."""


@dataclass
class AdvantagesSummary:
    """Counts over the whole table, the parts of earlier runs included."""

    groups: int = 0
    parts_made: int = 0
    parts_found: int = 0
    samples: int = 0
    rewards: list[RewardCounts] = field(default_factory=list)
    unscored_samples: int = 0
    """Samples without a combined reward."""
    zero_variance_groups: int = 0
    groups_without_reference: int = 0
    unscored_references: int = 0
    """References without a combined reward."""
    trained_groups: int = 0
    trained_samples: int = 0
    trained_references: int = 0
    mean_reward: float | None = None
    mean_reference_reward: float | None = None
    masked: dict[str, Masked] = field(default_factory=dict)
    """What each filter masked, in the order of application."""
    fingerprint: str = ""
    notes: list[str] = field(default_factory=list)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "AdvantagesSummary":
        """That of another process."""
        rewards = [RewardCounts(**counts) for counts in value["rewards"]]
        masked = {name: Masked(**counts) for name, counts in value["masked"].items()}
        return AdvantagesSummary(**{**value, "rewards": rewards, "masked": masked})


class Tally:
    """Adds up the batches of a table.

    Args:
        summary: receives the counts.
    """

    def __init__(self, summary: AdvantagesSummary, recipe: Recipe) -> None:
        self.summary = summary
        self._uses_rewards = recipe.estimator.uses_rewards
        self._totals = {True: 0.0, False: 0.0}
        self._scored_groups = 0
        summary.rewards = [RewardCounts(name, weight) for name, weight in recipe.weights.items()]

    def add(self, rows: pl.DataFrame, num_groups: int) -> None:
        """Count a batch.

        Args:
            rows: its sequences, with `combined`, `advantage` and `std`.
            num_groups: groups of the batch.
        """
        summary = self.summary
        row, is_sample = rows["row"].to_numpy(), rows["sample_index"].to_numpy() >= 0
        is_trained = rows["advantage"].is_not_null().to_numpy()
        std = rows["std"].filter(pl.Series(np.diff(row.astype(np.int64), prepend=-1) != 0))
        for counts in summary.rewards:
            _count_reward(counts, rows, pl.Series(is_sample))
        summary.groups += num_groups
        summary.samples += int(is_sample.sum())
        summary.unscored_samples += self._count_unscored(rows, is_sample, are_samples=True)
        summary.groups_without_reference += num_groups - int((~is_sample).sum())
        summary.unscored_references += self._count_unscored(rows, ~is_sample, are_samples=False)
        summary.zero_variance_groups += int((std == 0.0).sum())
        self._scored_groups += len(std) - std.null_count()
        summary.trained_groups += count_groups(row[is_trained])
        summary.trained_samples += int((is_trained & is_sample).sum())
        summary.trained_references += int((is_trained & ~is_sample).sum())
        summary.mean_reward = _mean(self._totals[True], summary.samples - summary.unscored_samples)
        num_scored = summary.groups - summary.groups_without_reference - summary.unscored_references
        summary.mean_reference_reward = _mean(self._totals[False], num_scored)

    def finish(self, result: RecipeResult) -> None:
        """Add what the filters masked, and the notes.

        Raises:
            InputError: no sample has a combined reward.
        """
        self.summary.masked = result.masked
        if self.has_nothing:
            raise InputError(self._why_nothing())
        self.summary.notes = list(self._notes())

    @property
    def has_nothing(self) -> bool:
        """Whether there are samples, none so far has a combined reward, and nothing else is trained on."""
        return 0 < self.summary.samples == self.summary.unscored_samples and self.summary.trained_groups == 0

    def _count_unscored(self, rows: pl.DataFrame, is_counted: np.ndarray, are_samples: bool) -> int:
        combined = rows["combined"].filter(pl.Series(is_counted)).cast(pl.Float64)
        self._totals[are_samples] += float(combined.sum())
        return combined.null_count()

    def _why_nothing(self) -> str:
        counts = [
            f"{c.reward}: {c.scored} scored, {c.not_applicable} not applicable, {c.unscored} without a reward"
            for c in self.summary.rewards
        ]
        several = len(counts) > 1 and all(c.scored for c in self.summary.rewards)
        advice = (
            "Every reward that applies to a sample must have scored it. Where each reward is meant for a part of the "
            "rows, score again with --when 'task == \"…\"' or --missing skip, so that it is not applicable elsewhere."
            if several
            else "See the details of the scores with grao inspect."
        )
        return (
            f"None of the {self.summary.samples} samples has a combined reward, so there is nothing to compare "
            f"({'; '.join(counts)}). {advice}"
        )

    def _notes(self) -> Iterator[str]:
        summary = self.summary
        num_references = summary.groups - summary.groups_without_reference
        unscored = sum(counts.unscored for counts in summary.rewards)
        yield from notes.references(num_references, summary.groups, "trainable ")
        yield from notes.unscored(min(unscored, summary.unscored_samples), summary.samples)
        if num_references:
            yield from notes.unscored_references(summary.unscored_references, num_references)
        if summary.mean_reward is not None and summary.mean_reference_reward is not None:
            scored = num_references - summary.unscored_references
            yield from notes.weak_references(
                summary.mean_reference_reward, summary.mean_reward, scored, are_worst=False
            )
        if self._uses_rewards or summary.trained_groups == 0:
            yield from notes.signal(summary.zero_variance_groups, self._scored_groups, summary.trained_groups)


def _count_reward(counts: RewardCounts, rows: pl.DataFrame, is_sample: pl.Series) -> None:
    applies = rows[f"applies.{counts.reward}"].filter(is_sample)
    num_scored = len(applies) - rows[f"reward.{counts.reward}"].filter(is_sample).null_count()
    counts.scored += num_scored
    counts.not_applicable += int((~applies).sum())
    counts.unscored += int(applies.sum()) - num_scored


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None
