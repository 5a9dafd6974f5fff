"""Groups and their scores, read together as flat views."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import polars as pl

from grao_pipeline.advantages.flat_view import SCORE_COLUMNS, columns_to_read, flat_view
from grao_pipeline.advantages.options import WeightedScores
from grao_pipeline.errors import UsageError
from grao_pipeline.parsing import key_values
from grao_pipeline.storage.reader import TableReader, open_table

# Large enough that a Polars query is cheap per group, small enough that its rows need only tens of megabytes.
GROUPS_PER_QUERY = 32_768


@dataclass(frozen=True)
class ScoredGroups:
    """A groups table and its scores tables by the reward's name; and those that are features, by their names."""

    groups: TableReader
    scores: dict[str, TableReader]
    features: dict[str, TableReader] = field(default_factory=dict)

    def batches(self) -> list[range]:
        """Ranges of consecutive parts that are read and computed together."""
        ranges, start, num_groups = [], 0, 0
        sizes = [part.rows for part in self.groups.manifest.parts]
        for index, size in enumerate(sizes):
            num_groups += size
            if num_groups >= GROUPS_PER_QUERY:
                ranges.append(range(start, index + 1))
                start, num_groups = index + 1, 0
        return [*ranges, range(start, len(sizes))] if start < len(sizes) else ranges

    def view(self, parts: range, columns: Collection[str]) -> tuple[pl.DataFrame, pl.Series]:
        """The flat view of consecutive parts, and the IDs of their groups."""
        frame = self.groups.frame(parts, columns_to_read(columns))
        scores = {
            name: reader.aligned_frame(self.groups, frame["group_id"], parts, SCORE_COLUMNS)
            for name, reader in (*self.scores.items(), *self._read_features(columns))
        }
        return flat_view(frame, scores, columns), frame["group_id"]

    def _read_features(self, columns: Collection[str]) -> list[tuple[str, TableReader]]:
        named = [(f"feature.{name}", reader) for name, reader in self.features.items()]
        return [(column, reader) for column, reader in named if column in columns]

    def newest_round(self) -> int | None:
        """The newest round of the table; None where it has no groups."""
        rounds = (part.column("round") for part in self.groups.parts(["round"]))
        return max((int(column.to_numpy().max()) for column in rounds if len(column)), default=None)


def open_scored_groups(
    groups: TableReader, scores: Sequence[WeightedScores], features: Sequence[str] = ()
) -> tuple[ScoredGroups, dict[str, float]]:
    """The groups with their scores, and the weights by the reward's name.

    Args:
        features: further scores tables, each as NAME=TABLE.

    Raises:
        UsageError: no scores, or two with the same name; or a feature is not NAME=TABLE or is given twice.
        MismatchError: scores that were computed from other groups.
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
    named = feature_urls(features)
    return ScoredGroups(groups, readers, {name: open_scores(url, groups)[1] for name, url in named.items()}), weights


def feature_urls(features: Sequence[str]) -> dict[str, str]:
    """`["answers=runs/answers"]` → `{"answers": "runs/answers"}`.

    Raises:
        UsageError: one is not NAME=TABLE, or a name is given twice.
    """
    urls: dict[str, str] = {}
    for entry in features:
        ((name, url),) = key_values([entry], "feature").items()
        if name in urls:
            raise UsageError(f"{entry}: there is a feature '{name}' already.", option="feature")
        urls[name] = url
    return urls


def open_scores(url: str, groups: TableReader) -> tuple[str, TableReader]:
    """The name of a reward and its scores of these groups. A foreign table has the name of its path.

    Raises:
        MismatchError: the scores were computed from other groups.
    """
    reader = open_table(url, "scores")
    reader.refuse_other_groups(groups)
    return str(reader.provenance.options.get("name") or url.rstrip("/").rpartition("/")[2]), reader
