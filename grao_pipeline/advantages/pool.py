"""Statistics over a prompt's samples in several tables: earlier rounds, other policies (`--pool`).

The key of the statistics is then `prompt_id` instead of `group_id`. A pooled table adds its samples. The reference is
one sequence, which counts once: as the reference of the table itself.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from grao_pipeline.advantages.inputs import ScoredGroups, open_scores
from grao_pipeline.errors import UsageError
from grao_pipeline.storage.reader import TableReader, open_table

# Above any position of a sample in its group: of equal samples, those of the table itself come first.
AFTER_OWN_SAMPLES = 1 << 24


def open_pool(pairs: Sequence[tuple[str, str]], names: Collection[str]) -> list[ScoredGroups]:
    """The pooled tables.

    Args:
        pairs: (groups, scores) URLs; the same groups are given once per reward.
        names: of the rewards that every pooled table needs.

    Raises:
        UsageError: a reward is missing, given twice, or not a reward of the table itself.
    """
    groups: dict[str, TableReader] = {}
    scores: dict[str, dict[str, TableReader]] = {}
    for groups_url, scores_url in pairs:
        reader = groups.setdefault(groups_url, open_table(groups_url, "groups"))
        name, scores_reader = open_scores(scores_url, reader)
        rewards = scores.setdefault(groups_url, {})
        if name in rewards:
            raise UsageError(f"{groups_url} {scores_url} holds the reward '{name}' a second time.", option="pool")
        if name not in names:
            raise UsageError(
                f"{groups_url} {scores_url} holds the reward '{name}', but --scores are of: {', '.join(names)}.",
                option="pool",
            )
        rewards[name] = scores_reader
    for url, rewards in scores.items():
        missing = [name for name in names if name not in rewards]
        if missing:
            raise UsageError(
                f"{url}: scores of {', '.join(missing)} are missing. Give --pool GROUPS SCORES once per reward.",
                option="pool",
            )
    return [ScoredGroups(groups[url], {name: scores[url][name] for name in names}) for url in scores]


@dataclass(frozen=True)
class Pool:
    """The samples of all tables, including the table itself, in memory: about 30 bytes per sample, without tokens.

    Example: `Pool.of(table, pooled, columns).join(view, first_row)`
    """

    rows: pl.DataFrame

    @staticmethod
    def of(table: ScoredGroups, pooled: Sequence[ScoredGroups], columns: Collection[str]) -> "Pool":
        """Args: columns: of the flat view."""
        frames, first_row = [], 0
        for scored_groups in (table, *pooled):
            for parts in scored_groups.batches():
                view, group_ids = scored_groups.view(parts, [*columns, "prompt_id"])
                frames.append(_keyed(view, first_row).filter(pl.col("sample_index") >= 0))
                first_row += len(group_ids)
        return Pool(pl.concat(frames))

    def join(self, view: pl.DataFrame, first_row: int) -> tuple[pl.DataFrame, np.ndarray]:
        """A batch of the table's groups, followed by the other samples of their prompts in the pool.

        Args:
            first_row: number of the batch's first group in the table.

        Returns:
            the rows, with the prompt ID in `group_id`; and which of them belong to the batch.
        """
        batch = _keyed(view, first_row)
        last_row = first_row + int(view["row"].to_numpy().max(initial=0))
        is_elsewhere = ~pl.col("row").is_between(first_row, last_row)
        others = self.rows.filter(is_elsewhere).join(batch.select("group_id").unique(), on="group_id", how="semi")
        others = others.with_columns(pl.col("sample_index") + AFTER_OWN_SAMPLES)
        return pl.concat([batch, others]), np.arange(len(batch) + len(others)) < len(batch)


def _keyed(view: pl.DataFrame, first_row: int) -> pl.DataFrame:
    key = pl.col("prompt_id").cast(pl.Categorical).alias("group_id")
    keyed = view.with_columns((pl.col("row") + first_row).cast(pl.UInt32), key)
    return keyed.drop("prompt_id") if "policy" not in keyed.columns else keyed
