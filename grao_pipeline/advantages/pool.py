"""Statistics over a prompt's samples in several tables: earlier rounds, other policies (`--pool`).

The key of the statistics is then `prompt_id` instead of `group_id`. A pooled table brings its samples; the reference is
one sequence and counts once, as the table's own.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from grao_pipeline.advantages.inputs import ScoredGroups, open_scores
from grao_pipeline.errors import UsageError
from grao_pipeline.storage.reader import TableReader, open_table

# Above any position of a sample in its group: among equals, the table's own samples come first.
AFTER_OWN_SAMPLES = 1 << 24


def open_pool(pairs: Sequence[tuple[str, str]], names: Collection[str]) -> list[ScoredGroups]:
    """The pooled tables.

    Args:
        pairs: (groups, scores) URLs; the same groups are named once for each reward.
        names: of the rewards that each of them needs.

    Raises:
        UsageError: a reward is missing, given twice, or not one of the table's own.
    """
    groups: dict[str, TableReader] = {}
    scores: dict[str, dict[str, TableReader]] = {}
    for groups_url, scores_url in pairs:
        reader = groups.setdefault(groups_url, open_table(groups_url, "groups"))
        name, found = open_scores(scores_url, reader)
        of_groups = scores.setdefault(groups_url, {})
        if name not in names or name in of_groups:
            what = "a second time" if name in of_groups else f"but the scores given are of: {', '.join(names)}"
            raise UsageError(f"{groups_url} {scores_url} holds the reward '{name}', {what}.", option="pool")
        of_groups[name] = found
    for url, found_scores in scores.items():
        missing = [name for name in names if name not in found_scores]
        if missing:
            raise UsageError(
                f"--pool {url}: scores of {', '.join(missing)} are missing. "
                "Give --pool GROUPS SCORES once for each reward."
            )
    return [ScoredGroups(groups[url], {name: scores[url][name] for name in names}) for url in scores]


@dataclass(frozen=True)
class Pool:
    """The samples of all tables, the table's own included, in memory: some 30 bytes each, and no tokens.

    Example: `Pool.of(own, pooled, columns).join(view, first_row)`
    """

    rows: pl.DataFrame

    @staticmethod
    def of(own: ScoredGroups, pooled: Sequence[ScoredGroups], columns: Collection[str]) -> "Pool":
        """Args: columns: of the flat view."""
        frames, first_row = [], 0
        for table in (own, *pooled):
            for parts in table.batches():
                view, group_ids = table.view(parts, [*columns, "prompt_id"])
                frames.append(_keyed(view, first_row).filter(pl.col("sample_index") >= 0))
                first_row += len(group_ids)
        return Pool(pl.concat(frames))

    def join(self, view: pl.DataFrame, first_row: int) -> tuple[pl.DataFrame, np.ndarray]:
        """A batch of the table's own groups, followed by what the pool has of their prompts.

        Args:
            first_row: number of the batch's first group in the table.

        Returns:
            the rows, `group_id` holding the prompt's id; and which of them are the batch's own.
        """
        batch = _keyed(view, first_row)
        elsewhere = ~pl.col("row").is_between(first_row, first_row + int(view["row"].max() or 0))  # type: ignore[arg-type]
        others = self.rows.filter(elsewhere).join(batch.select("group_id").unique(), on="group_id", how="semi")
        others = others.with_columns(pl.col("sample_index") + AFTER_OWN_SAMPLES)
        return pl.concat([batch, others]), np.arange(len(batch) + len(others)) < len(batch)


def _keyed(view: pl.DataFrame, first_row: int) -> pl.DataFrame:
    key = pl.col("prompt_id").cast(pl.Categorical).alias("group_id")
    keyed = view.with_columns((pl.col("row") + first_row).cast(pl.UInt32), key)
    return keyed.drop("prompt_id") if "policy" not in keyed.columns else keyed
