"""`grao advantages`: groups + scores → advantages."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grao_pipeline.advantages.combine import check_combination
from grao_pipeline.advantages.estimate import (
    Masked,
    Recipe,
    add_advantages,
    advantages_of,
    advantages_table,
    count_rewards,
    load_estimator,
    needed_columns,
    over_table,
)
from grao_pipeline.advantages.estimators import ESTIMATORS
from grao_pipeline.advantages.inputs import ScoredGroups, open_scored_groups
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.advantages.pool import Pool, open_pool
from grao_pipeline.advantages.table_std import Moments
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.plugins import named_source
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.writer import TableWriter

__all__ = ["AdvantagesSummary", "advantages_of", "advantages_provenance", "compute_advantages"]

PooledFingerprints = Sequence[tuple[str, Sequence[tuple[str, str]]]]
"""Of each pooled groups table its fingerprint, and of each of its rewards the name and the scores' fingerprint."""


@dataclass
class AdvantagesSummary:
    """What the whole table holds (parts that earlier runs made included)."""

    groups: int = 0
    parts_made: int = 0
    parts_found: int = 0
    samples: int = 0
    unscored_samples: int = 0
    zero_variance_groups: int = 0
    groups_without_reference: int = 0
    """Groups that are trained on their samples alone."""
    trained_groups: int = 0
    trained_samples: int = 0
    mean_reward: float | None = None
    masked: dict[str, Masked] = field(default_factory=dict)
    """What each filter masked, in the order in which they are applied."""
    fingerprint: str = ""


def advantages_provenance(
    options: AdvantagesOptions,
    groups_fingerprint: str,
    scores: Sequence[tuple[str, str, float]],
    pool: PooledFingerprints = (),
) -> Provenance:
    """The identity of an advantages table.

    Args:
        scores: of each scores table its reward's name, fingerprint and weight.
        pool: of each pooled table; their order plays no part, nor that of their rewards.
    """
    inputs: dict[str, Any] = {"groups": groups_fingerprint, "scores": [list(score) for score in scores]}
    if pool:
        inputs["pool"] = sorted([groups, sorted(map(list, rewards))] for groups, rewards in pool)
    shaping = options.content() | named_source("estimator", options.estimator, ESTIMATORS)
    return Provenance("advantages", stage_fingerprint("advantages", shaping, inputs), shaping, inputs)


@dataclass
class Work:
    """What is to be computed, of which tables. Make one with `open_work`; `rows` computes it."""

    inputs: ScoredGroups
    pooled: list[ScoredGroups]
    recipe: Recipe
    provenance: Provenance

    def rows(self) -> Iterator[tuple[range, pl.DataFrame, pa.ChunkedArray]]:
        """Consecutive parts, their rows with `advantage`, `mean` and `std`, and the ids of their groups."""
        columns = needed_columns(self.recipe)
        if "round" in columns:
            self.recipe.newest_round = self.inputs.newest_round()
        pool = Pool.of(self.inputs, self.pooled, columns) if self.pooled else None
        between = over_table(self.recipe.estimator)
        if between is not None:
            moments = Moments()
            for _, view, own, _ in self._counted(columns, pool):
                values = view.select(between(view, statistics=self.recipe.options.statistics).alias("value"))["value"]
                moments.add(values.filter(pl.Series(own)).drop_nulls().to_numpy())
            self.recipe.table_std = moments.std()
            self.recipe.masked.clear()
        for parts, view, own, group_ids in self._counted(columns, pool):
            rows = add_advantages(view, self.recipe, own)
            yield parts, rows if pool is None else rows.filter(pl.Series(own)), group_ids

    def _counted(
        self, columns: list[str], pool: Pool | None
    ) -> Iterator[tuple[range, pl.DataFrame, np.ndarray, pa.ChunkedArray]]:
        """Parts, their rows and what the pool adds after the filters before the statistics, which are own, ids."""
        first_row = 0
        for parts in self.inputs.batches():
            view, group_ids = self.inputs.view(parts, columns if pool is None else [*columns, "prompt_id"])
            own = np.ones(len(view), dtype=bool)
            if pool is not None:
                view, own = pool.join(view, first_row)
            elif "group_id" not in view.columns:
                # The group's number in place of its id: the same groups, found without comparing strings.
                view = view.with_columns(pl.col("row").set_sorted().alias("group_id"))
            first_row += len(group_ids)
            yield parts, count_rewards(view, self.recipe, own), own, group_ids


def open_work(groups_url: str, options: AdvantagesOptions) -> Work:
    """Open and check everything that `grao advantages` reads.

    Raises:
        UsageError: no scores, two with one name, a combination that cannot be made of them, or an unknown estimator.
        MismatchError: scores and groups do not belong together.
    """
    inputs, weights = open_scored_groups(open_table(groups_url, "groups"), options.scores)
    check_combination(options, weights)
    recipe = Recipe(options, weights, load_estimator(options))
    pooled = open_pool(options.pool, list(weights))
    described = [(name, reader.fingerprint, weights[name]) for name, reader in inputs.scores.items()]
    others = [(t.groups.fingerprint, [(name, r.fingerprint) for name, r in t.scores.items()]) for t in pooled]
    return Work(inputs, pooled, recipe, advantages_provenance(options, inputs.groups.fingerprint, described, others))


def compute_advantages(
    groups_url: str, out: str, options: AdvantagesOptions, progress: Progress = SILENT
) -> AdvantagesSummary:
    """Combine rewards, estimate advantages, mask what is not to be trained on; write the table, part by part.

    Raises:
        UsageError, MismatchError: see `open_work`; or `out` holds other work.
    """
    work = open_work(groups_url, options)
    groups = work.inputs.groups
    writer = TableWriter(out, work.provenance, groups.num_parts, progress)
    writer.discard_changed_parts(groups)
    summary = AdvantagesSummary(parts_found=writer.num_committed, fingerprint=work.provenance.fingerprint)
    missing = set(writer.missing())
    bar = progress.track("computing advantages", groups.num_parts, "parts")
    with bar, ThreadPoolExecutor(1) as disk:  # compressing and flushing one batch while the next one is computed
        writing: Future[None] | None = None
        for parts, rows, group_ids in work.rows():
            add_to_summary(summary, rows, len(group_ids))
            made = [] if missing.isdisjoint(parts) else _cut(advantages_table(rows, group_ids), parts, groups)
            if writing is not None:
                writing.result()
            bar.advance(len(parts), groups=summary.groups, mean_reward=summary.mean_reward)
            writing = disk.submit(_write, writer, [(index, table) for index, table in made if index in missing])
        if writing is not None:
            writing.result()
    summary.parts_made = len(missing)
    writer.finish()
    summary.masked = work.recipe.masked
    return summary


def _cut(table: pa.Table, parts: range, groups: TableReader) -> list[tuple[int, pa.Table]]:
    """A batch's table, part by part."""
    sizes = [groups.manifest.parts[index].rows for index in parts]
    starts = np.cumsum([0, *sizes])
    return [(index, table.slice(start, size)) for index, start, size in zip(parts, starts, sizes, strict=False)]


def _write(writer: TableWriter, tables: Sequence[tuple[int, pa.Table]]) -> None:
    for index, table in tables:
        writer.write(index, table)


def add_to_summary(summary: AdvantagesSummary, rows: pl.DataFrame, num_groups: int) -> None:
    """Count these rows."""
    row, is_sample = rows["row"].to_numpy(), rows["sample_index"].to_numpy() >= 0
    rewards = rows["combined"].filter(pl.Series(is_sample)).cast(pl.Float64)
    is_trained = rows["advantage"].is_not_null().to_numpy()
    first = np.diff(row.astype(np.int64), prepend=-1) != 0
    with_samples = np.unique(row[is_trained & is_sample])
    with_reference = row[is_trained & ~is_sample]
    scored = summary.samples - summary.unscored_samples
    total = (summary.mean_reward or 0.0) * scored + float(rewards.sum())
    summary.groups += num_groups
    summary.samples += len(rewards)
    summary.unscored_samples += rewards.null_count()
    summary.zero_variance_groups += int((rows["std"].filter(pl.Series(first)) == 0.0).sum())
    summary.groups_without_reference += len(np.setdiff1d(with_samples, with_reference, assume_unique=True))
    summary.trained_groups += len(np.union1d(with_samples, with_reference))
    summary.trained_samples += int((is_trained & is_sample).sum())
    scored = summary.samples - summary.unscored_samples
    summary.mean_reward = total / scored if scored else None
