"""Distributions of rewards and lengths of a set of groups: of every sequence only numbers stay in memory."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from grao_pipeline.advantages.flat_view import columns_to_read, flat_view
from grao_pipeline.report.group_sets import COMBINED
from grao_pipeline.report.samples import OpenSet

Json = dict[str, Any]
MOST_VALUES = 12
"""Distinct rewards that are counted one by one; of more, intervals are."""
NUM_BINS = 24
QUANTILES = (0.1, 0.5, 0.9)
VIEW = ["source", "num_tokens", "finish_reason"]


@dataclass(frozen=True)
class SetNumbers:
    """The numbers of a set of groups.

    Attributes:
        groups: number of groups that are read.
        rewards: `row`, and a column per reward; of every sample. Null where there is no reward.
        references: the same columns, of the references.
        tokens: of every sample.
        statuses: by reward, how often each status occurs.
    """

    key: str
    groups: int
    rewards: pl.DataFrame
    references: pl.DataFrame
    tokens: pl.Series
    reference_tokens: pl.Series
    finish_reasons: dict[str, int]
    statuses: dict[str, dict[str, int]]

    def lengths(self) -> Json:
        """Quantiles of the samples' tokens and the shares of those that were cut off or not sampled."""
        total = max(len(self.tokens), 1)
        return {
            "set": self.key,
            "samples": len(self.tokens),
            "quantiles": [self.tokens.quantile(quantile, "nearest") for quantile in QUANTILES],
            "mean": self.tokens.mean(),
            "reference": self.reference_tokens.median(),
            **{name: self.finish_reasons.get(name, 0) / total for name in ("length", "abort")},
        }

    def of_reward(self, name: str) -> Json:
        """Mean, number of scored samples, share of the scored groups without variance, and statuses."""
        scored = self.rewards.select("row", pl.col(name).alias("reward")).drop_nulls()
        spread = scored.group_by("row").agg((pl.col("reward").max() - pl.col("reward").min()).alias("spread"))
        num_equal = int((spread["spread"] == 0).sum())
        return {
            "set": self.key,
            "reward": name,
            "scored": len(scored),
            "samples": len(self.rewards),
            "mean": scored["reward"].mean(),
            "reference_mean": self.references[name].mean(),
            "zero_variance": num_equal / len(spread) if len(spread) else None,
            "statuses": self.statuses.get(name, {}),
        }

    def agreement(self) -> list[Json]:
        """Spearman's rank correlation of every two rewards over the samples that both have scored."""
        names = [name for name in self.rewards.columns if name not in ("row", COMBINED)]
        rows = []
        for first, second in combinations(names, 2):
            both = self.rewards.select(first, second).drop_nulls()
            value = both.select(pl.corr(first, second, method="spearman")).item() if len(both) > 1 else None
            is_known = value is not None and np.isfinite(value)
            rows.append(
                {"set": self.key, "rewards": [first, second], "n": len(both), "rho": value if is_known else None}
            )
        return rows


def set_numbers(tables: OpenSet) -> SetNumbers:
    """Read the numbers of a set of groups.

    Raises:
        DamagedPart: a part is damaged.
        MismatchError: the tables hold other groups.
    """
    frames: list[pl.DataFrame] = []
    statuses: dict[str, Counter[str]] = {name: Counter() for name in tables.scores}
    offset = 0
    for part, entry in enumerate(tables.groups.parts):
        groups = tables.groups.part(part, columns_to_read(VIEW))
        scores = {}
        for name, access in tables.scores.items():
            table = tables.companion(access, part, 0, entry.rows, ["rewards", "reference_reward", "statuses"])
            if table is not None:
                scores[name] = table
                statuses[name].update(table.column("statuses").combine_chunks().flatten().to_pylist())
        if tables.advantages and COMBINED in tables.of.rewards:
            computed = tables.companion(tables.advantages, part, 0, entry.rows, ["rewards", "reference_reward"])
            if computed is not None:
                scores[COMBINED] = computed
        view = flat_view(groups, scores, [*VIEW, *(f"reward.{name}" for name in scores)])
        frames.append(view.with_columns(pl.col("row").cast(pl.Int64) + offset))
        offset += entry.rows
    names = {f"reward.{name}": name for name in tables.of.rewards}
    empty = pl.DataFrame(
        schema={"row": pl.Int64, "source": pl.String, "num_tokens": pl.Int32, "finish_reason": pl.String}
    )
    view = pl.concat([empty, *frames], how="diagonal")
    missing = [pl.lit(None, pl.Float32).alias(column) for column in names if column not in view.columns]
    view = view.with_columns(missing).rename(names)
    samples, references = (view.filter(pl.col("source") == kind) for kind in ("sample", "reference"))
    return SetNumbers(
        tables.of.key,
        offset,
        samples.select("row", *names.values()),
        references.select("row", *names.values()),
        samples["num_tokens"],
        references["num_tokens"],
        Counter(samples["finish_reason"].to_list()),
        {name: dict(counts) for name, counts in statuses.items()},
    )


def histograms(numbers: Sequence[SetNumbers]) -> list[Json]:
    """The distribution of each reward in each set, over the same values or intervals in all sets.

    Returns:
        Per reward its edges (or values), and per set the share of the scored samples in each interval.
    """
    names = list(dict.fromkeys(name for one in numbers for name in one.rewards.columns if name != "row"))
    return [_histogram(name, {one.key: one.rewards[name] for one in numbers if name in one.rewards}) for name in names]


def _histogram(name: str, by_set: Mapping[str, pl.Series]) -> Json:
    arrays = {key: values.drop_nulls().cast(pl.Float64).to_numpy() for key, values in by_set.items()}
    everything = np.concatenate([*arrays.values(), np.empty(0)])
    values = np.unique(np.round(everything, 6))
    if len(values) <= MOST_VALUES:
        edges = None
        shares = {
            key: [float((np.round(array, 6) == value).mean()) for value in values]
            for key, array in arrays.items()
            if len(array)
        }
    else:
        edges = np.linspace(everything.min(), everything.max(), NUM_BINS + 1)
        shares = {key: (np.histogram(a, edges)[0] / len(a)).tolist() for key, a in arrays.items() if len(a)}
    return {
        "reward": name,
        "values": [float(f"{value:.6g}") for value in values] if edges is None else None,
        "edges": None if edges is None else edges.tolist(),
        "shares": shares,
    }
