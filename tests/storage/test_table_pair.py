"""A groups table and its companion are opened and read together, in the order of the groups."""

from pathlib import Path

import polars as pl
import pytest

from grao_pipeline.errors import MismatchError
from grao_pipeline.storage.table_pair import TablePair
from tests import tiny

ROWS = [tiny.group_row(f"question {i}", ["a", "b"]) for i in range(6)]
SCORES = [
    {"group_id": row["group_id"], "rewards": [float(i), None], "statuses": ["ok", "error"]}
    for i, row in enumerate(ROWS)
]


@pytest.fixture
def groups(tmp_path: Path) -> str:
    """Groups in parts of four and two."""
    return tiny.write_table(tmp_path / "groups", "groups", ROWS, fingerprint="a" * 32)


def test_parts_of_both_tables_come_together(groups: str, tmp_path: Path) -> None:
    scores = tiny.write_table(tmp_path / "scores", "scores", SCORES, fingerprint="c" * 32, inputs={"groups": "a" * 32})
    pair = TablePair.open(groups, scores, "scores")
    assert pair.fingerprints == ("a" * 32, "c" * 32)
    parts = list(pair.parts(["prompt_id"], ["rewards"]))
    assert [part.column_names for part in parts[0]] == [["group_id", "prompt_id"], ["group_id", "rewards"]]
    assert [part.num_rows for part, _ in parts] == [4, 2]
    rewards = [row["rewards"] for _, part in parts for row in part.to_pylist()]
    assert rewards == [row["rewards"] for row in SCORES]


def test_a_foreign_companion_is_read_in_the_order_of_the_groups(groups: str, tmp_path: Path) -> None:
    pl.DataFrame(SCORES[::-1]).write_parquet(tmp_path / "scores.parquet")
    pair = TablePair.open(groups, str(tmp_path / "scores.parquet"), "scores")
    ids = [
        (row["group_id"], companion["group_id"])
        for part, other in pair.parts([], [])
        for row, companion in zip(part.to_pylist(), other.to_pylist(), strict=True)
    ]
    assert ids == [(row["group_id"],) * 2 for row in ROWS]


def test_a_companion_of_other_groups_or_of_another_kind_is_refused(groups: str, tmp_path: Path) -> None:
    scores = tiny.write_table(tmp_path / "scores", "scores", SCORES, inputs={"groups": "b" * 32})
    with pytest.raises(MismatchError, match=f"scores holds the scores of groups {'b' * 32}"):
        TablePair.open(groups, scores, "scores")
    with pytest.raises(MismatchError, match="needs a table of kind 'advantages'"):
        TablePair.open(groups, scores, "advantages")
