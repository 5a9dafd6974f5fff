"""Origins: the groups of one table that one policy sampled in one round, and which groups are trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc


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
class Part:
    """A part of a groups table and the advantages of the same rows."""

    groups_table: str
    """Fingerprint of the groups table."""
    groups: pa.Table
    advantages: pa.Table
    logprobs: Mapping[str, pa.Table] = field(default_factory=dict)
    """By name, the log-probs of the same rows under other models."""


@dataclass
class GroupIndex:
    """Where the groups to train on are."""

    origins: list[Origin] = field(default_factory=list)
    """In the order of the rows; groups that are too old have no origin."""
    rows: list[tuple[int, int, int]] = field(default_factory=list)
    """(part, row in the part, origin) of every group to train on."""
    num_too_old: int = 0
    """Groups that were skipped for their age and would have been trained on."""


def find_origins(parts: Sequence[Part], max_rounds_behind: int | None) -> GroupIndex:
    """Assign groups to origins, skipping those more than `max_rounds_behind` rounds older than the newest group."""
    group_index = GroupIndex()
    numbers: dict[tuple[str, int, str], int] = {}
    newest = max((pc.max(part.groups["round"]).as_py() for part in parts if part.groups.num_rows), default=0)
    for index, part in enumerate(parts):
        trained = _trained_rows(part)
        sampled = zip(part.groups["round"].to_pylist(), part.groups["policy"].to_pylist(), strict=True)
        for row, (number, policy) in enumerate(sampled):
            behind = newest - number
            if max_rounds_behind is not None and behind > max_rounds_behind:
                group_index.num_too_old += row in trained
                continue
            origin = numbers.setdefault((part.groups_table, number, policy), len(numbers))
            if origin == len(group_index.origins):
                group_index.origins.append(Origin(part.groups_table, number, behind, policy))
            group_index.origins[origin].groups += 1
            if row in trained:
                group_index.origins[origin].groups_trained += 1
                group_index.rows.append((index, row, origin))
    return group_index


def _trained_rows(part: Part) -> set[int]:
    """The rows that have a sequence with an advantage and at least one token."""
    ids = part.groups.select(["completion_token_ids", "reference_token_ids"])
    lengths = pl.DataFrame(pl.from_arrow(ids)).select(
        pl.col("completion_token_ids").list.eval(pl.element().list.len()), pl.col("reference_token_ids").list.len()
    )
    columns = zip(
        *(part.advantages.column(name).to_pylist() for name in ("advantages", "reference_advantage")),
        *(lengths.get_column(name).to_list() for name in ("completion_token_ids", "reference_token_ids")),
        strict=True,
    )
    return {
        row
        for row, (samples, reference, sample_lengths, reference_length) in enumerate(columns)
        if any(value is not None and length for value, length in zip(samples, sample_lengths, strict=False))
        or (reference is not None and reference_length)
    }
