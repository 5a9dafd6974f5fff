"""Groups and their scores, read side by side as flat views."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.advantages.flat_view import SCORE_COLUMNS, columns_to_read, flat_view
from grao_pipeline.advantages.options import WeightedScores
from grao_pipeline.errors import UsageError
from grao_pipeline.storage.reader import TableReader, open_table

# Enough that a Polars query is cheap per group, few enough that its rows take some tens of megabytes.
GROUPS_PER_QUERY = 32_768


@dataclass(frozen=True)
class ScoredGroups:
    """A groups table and its scores tables by the reward's name."""

    groups: TableReader
    scores: dict[str, TableReader]

    def batches(self) -> list[range]:
        """Runs of consecutive parts that are read and computed together."""
        found, start, total = [], 0, 0
        rows = [part.rows for part in self.groups.manifest.parts]
        for index, count in enumerate(rows):
            total += count
            if total >= GROUPS_PER_QUERY:
                found.append(range(start, index + 1))
                start, total = index + 1, 0
        return [*found, range(start, len(rows))] if start < len(rows) else found

    def view(self, parts: range, columns: Collection[str]) -> tuple[pl.DataFrame, pa.ChunkedArray]:
        """The flat view of consecutive parts, and the ids of their groups."""
        read: list[pa.Table] = []
        aligned: dict[str, list[pa.Table]] = {name: [] for name in self.scores}
        for index in parts:
            read.append(self.groups.part(index, columns_to_read(columns)))
            for name, reader in self.scores.items():
                aligned[name].append(reader.aligned_part(read[-1].column("group_id"), index, SCORE_COLUMNS))
        groups = pa.concat_tables(read).combine_chunks()
        scores = {name: pa.concat_tables(tables).combine_chunks() for name, tables in aligned.items()}
        return flat_view(groups, scores, columns), groups.column("group_id")

    def newest_round(self) -> int | None:
        """The newest round of the table; None where it has no group."""
        rounds = (part.column("round") for part in self.groups.parts(["round"]))
        return max((int(pc.max(column).as_py()) for column in rounds if len(column)), default=None)

    def views(self, columns: Collection[str]) -> Iterator[pl.DataFrame]:
        return (self.view(parts, columns)[0] for parts in self.batches())


def open_scored_groups(groups: TableReader, scores: Sequence[WeightedScores]) -> tuple[ScoredGroups, dict[str, float]]:
    """The groups with their scores, and the weights by the reward's name.

    Raises:
        UsageError: no scores, or two with one name.
        MismatchError: scores that were made from other groups.
    """
    if not scores:
        raise UsageError("give at least one scores table, as PATH or PATH=WEIGHT.", option="scores")
    readers: dict[str, TableReader] = {}
    weights: dict[str, float] = {}
    for score in scores:
        name, reader = open_scores(score.url, groups)
        if name in readers:
            raise UsageError(
                f"{score.url} is a second table with the reward name '{name}'. "
                "Score it under another name: grao score … --name NAME.",
                option="scores",
            )
        readers[name], weights[name] = reader, score.weight
    return ScoredGroups(groups, readers), weights


def open_scores(url: str, groups: TableReader) -> tuple[str, TableReader]:
    """A scores table of these groups, with its reward's name: the one it was scored under, or else that of the path.

    Raises:
        MismatchError: it was made from other groups.
    """
    reader = open_table(url, "scores")
    reader.refuse_other_groups(groups)
    return str(reader.provenance.options.get("name") or url.rstrip("/").rpartition("/")[2]), reader
