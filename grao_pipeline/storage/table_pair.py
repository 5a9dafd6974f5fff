"""A groups table and a companion table of it, read together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from grao_pipeline.errors import MismatchError
from grao_pipeline.storage.reader import TableReader, open_table


@dataclass(frozen=True)
class TablePair:
    """A groups table and its companion: the scores or the advantages of the same groups, row by row.

    Example:
        pair = TablePair.open("runs/groups", "runs/scores", "scores")
        for groups, scores in pair.parts(["prompt_id"], ["rewards"]): ...
    """

    groups: TableReader
    companion: TableReader

    @staticmethod
    def open(groups_url: str, companion_url: str, kind: str) -> "TablePair":
        """Args: kind: of the companion: `scores` or `advantages`.

        Raises:
            InputError: one of the tables does not exist, is incomplete, or is of another kind.
            MismatchError: the companion was made from other groups.
        """
        pair = TablePair(open_table(groups_url, "groups"), open_table(companion_url, kind))
        pair.companion.refuse_other_groups(pair.groups)
        return pair

    @property
    def fingerprints(self) -> tuple[str, str]:
        """Of the groups and of the companion."""
        return self.groups.fingerprint, self.companion.fingerprint

    def parts(
        self, group_columns: Sequence[str], companion_columns: Sequence[str]
    ) -> Iterator[tuple[pa.Table, pa.Table]]:
        """These columns of both tables, part by part, in the order of the groups. `group_id` is always included.

        Raises:
            DamagedPart: the bytes of a part are not the ones that were committed.
            MismatchError: a part of the companion holds other groups.
        """
        columns = list(dict.fromkeys(["group_id", *group_columns]))
        for index in range(self.groups.num_parts):
            groups = self.groups.part(index, columns)
            yield groups, self.companion.aligned_part(groups.column("group_id"), index, companion_columns)


def refuse_other_sample_counts(groups: pa.Table, scores: pa.Table, name: str) -> None:
    """Check that aligned scores hold one reward per sample, since other software may have written them.

    Raises:
        MismatchError: names the first group with another number.
    """
    import pyarrow.compute as pc  # it takes longer to import than all else here

    num_samples, num_rewards = (
        pc.list_value_length(column).to_numpy()
        for column in (groups.column("finish_reasons"), scores.column("rewards"))
    )
    refuse_other_counts(groups.column("group_id"), num_samples, num_rewards, name)


def refuse_other_counts(
    group_ids: Sequence[object] | pa.ChunkedArray, num_samples: np.ndarray, num_rewards: np.ndarray, name: str
) -> None:
    """`refuse_other_sample_counts`, of counts: [R] each.

    Raises:
        MismatchError: names the first group with another number.
    """
    different = np.flatnonzero(num_samples != num_rewards)
    if len(different):
        row = int(different[0])
        raise MismatchError(
            f"Scores '{name}' hold {num_rewards[row]} rewards for group {group_ids[row]}, which has "
            f"{num_samples[row]} samples. Scores need one reward per sample, null where scoring failed."
        )
