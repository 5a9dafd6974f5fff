"""Origins: the groups of one table that one policy sampled in one round, and which groups are trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl


@dataclass
class Origin:
    """The groups of one table that one policy sampled in one round.

    Example: `Origin("9a…", 2, 1, "3f…", 64, 60)`
    """

    groups_table: str
    """Fingerprint of the groups table."""
    round: int
    rounds_behind: int
    """Staleness: how many rounds before the newest of all tables."""
    policy: str
    """Fingerprint of the weights that sampled."""
    groups: int = 0
    groups_trained: int = 0
    """Number of groups with a sequence to train on."""


@dataclass(frozen=True)
class GroupIndex:
    """Where the groups to train on are."""

    origins: list[Origin]
    """In the order of the rows; groups that are too old have no origin."""
    rows: pl.DataFrame
    """What is known of every group to train on (see `scan`), and `origin`, its number."""
    num_too_old: int
    """Groups that were skipped for their age and would have been trained on."""


def find_origins(rows: pl.DataFrame, tables: Sequence[str], max_rounds_behind: int | None) -> GroupIndex:
    """Assign groups to origins, skipping those more than `max_rounds_behind` rounds older than the newest group.

    Args:
        rows: all rows of the tables, as `scan` describes them.
        tables: fingerprints of the groups tables.
    """
    newest = int(rows["round"].max() or 0)  # type: ignore[arg-type]  # of int32
    is_kept = pl.lit(True) if max_rounds_behind is None else newest - pl.col("round") <= max_rounds_behind
    recent = rows.filter(is_kept)
    sampled = recent.group_by("table", "round", "policy", maintain_order=True).agg(
        pl.len().alias("groups"), pl.col("is_trained").sum().alias("groups_trained")
    )
    origins = [
        Origin(tables[table], number, newest - number, str(policy), groups, trained)
        for table, number, policy, groups, trained in sampled.iter_rows()
    ]
    numbered = sampled.select("table", "round", "policy").with_row_index("origin")
    trained = recent.filter("is_trained").join(
        numbered, on=["table", "round", "policy"], how="left", maintain_order="left"
    )
    return GroupIndex(origins, trained, int(rows["is_trained"].sum()) - int(recent["is_trained"].sum()))
