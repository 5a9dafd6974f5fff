"""Rows by their position: those of the whole table, from the row groups around them alone."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from grao_pipeline.errors import DamagedPart, InputError, SchemaError
from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.row_access import open_rows
from grao_pipeline.storage.writer import TableWriter
from tests.tiny import group_row, write_table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """300 groups in parts of 130: two whole row groups of 64 and a rest in each."""
    rows = [group_row(f"question {i}", [f"answer {i}", "other"]) for i in range(300)]
    return write_table(tmp_path_factory.mktemp("rows") / "groups", "groups", rows, rows_per_part=130)


@pytest.mark.parametrize(
    "span", [(0, 1), (0, 300), (63, 65), (100, 140), (129, 130), (130, 131), (255, 400), (299, 300)]
)
def test_rows_are_those_of_the_whole_table(table: str, span: tuple[int, int]) -> None:
    columns = ["prompt_id", "completions", "finish_reasons"]
    assert (
        open_rows(table).rows(*span, columns).equals(open_table(table).arrow(columns).slice(span[0], span[1] - span[0]))
    )


def test_rows_after_the_end_are_none(table: str) -> None:
    assert open_rows(table).rows(300, 310, ["prompt_id"]).num_rows == 0


def test_only_the_row_groups_around_the_rows_are_read(tmp_path: Path) -> None:
    """Damage elsewhere in the file is not met; damage in the rows is."""
    rows = [group_row(f"question {i}", ["answer " * 50]) for i in range(256)]
    url = write_table(tmp_path / "groups", "groups", rows, rows_per_part=256)
    path = tmp_path / "groups" / "part-000000.parquet"
    metadata = pa.parquet.read_metadata(path)
    column = next(
        metadata.row_group(3).column(i)
        for i in range(metadata.num_columns)
        if metadata.schema.column(i).path.startswith("completions.")
    )
    data = bytearray(path.read_bytes())
    data[column.dictionary_page_offset + column.total_compressed_size - 8] ^= 0xFF
    path.write_bytes(data)
    assert open_rows(url).rows(0, 192, ["completions"]).num_rows == 192
    with pytest.raises(DamagedPart, match=r"part-000000.parquet is damaged"):
        open_rows(url).rows(192, 256, ["completions"])


def test_a_table_in_writing_is_read_as_far_as_it_is_committed(tmp_path: Path) -> None:
    rows = [group_row(f"question {i}", ["answer"]) for i in range(4)]
    writer = TableWriter(str(tmp_path / "groups"), Provenance("groups", "f" * 32, {}, {}), 2)
    parts = [pa.Table.from_pylist(rows[start : start + 2], schema=TABLES["groups"].arrow()) for start in (0, 2)]
    writer.write(0, parts[0])
    before = open_rows(str(tmp_path / "groups"))
    assert (before.num_rows, before.is_complete, before.provenance.fingerprint if before.provenance else "") == (
        2,
        False,
        "f" * 32,
    )
    writer.write(1, parts[1])
    after = open_rows(str(tmp_path / "groups"), known=before)
    assert after.rows(0, 4, ["prompt_id"])["prompt_id"].to_pylist() == [row["prompt_id"] for row in rows]
    writer.finish()
    assert open_rows(str(tmp_path / "groups")).is_complete


def test_a_file_of_other_software_is_read_with_its_missing_columns_as_nulls(tmp_path: Path, table: str) -> None:
    frame = pl.read_parquet(f"{table}/part-*.parquet").drop("reasoning")
    frame.write_parquet(tmp_path / "groups.parquet", row_group_size=50)
    rows = open_rows(str(tmp_path / "groups.parquet"), "groups").rows(49, 51, ["prompt_id", "reasoning"])
    assert rows["prompt_id"].to_pylist() == frame["prompt_id"][49:51].to_list()
    assert rows["reasoning"].null_count == 2
    with pytest.raises(InputError, match="name the kind of table"):
        open_rows(str(tmp_path / "groups.parquet"))


@pytest.mark.parametrize("column", ["finish_reasons", "completion_token_ids", "messages"])
def test_rows_of_other_software_that_break_the_contract_are_named(tmp_path: Path, table: str, column: str) -> None:
    frame = pl.read_parquet(f"{table}/part-*.parquet").head(4)
    frame.with_columns(pl.col(column).list.head(1 if column != "messages" else 0)).write_parquet(tmp_path / "g.parquet")
    rows = open_rows(str(tmp_path / "g.parquet"), "groups")
    with pytest.raises(SchemaError, match=f"g.parquet.*{column}"):
        rows.rows(0, 2, ["prompt_id"])
