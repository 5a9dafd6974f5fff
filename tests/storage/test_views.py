"""A table in the memory of Polars, Arrow and `datasets`: verified, whole, with the contract's columns."""

from pathlib import Path

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grao_pipeline.errors import DamagedPart
from grao_pipeline.schemas import GROUPS
from grao_pipeline.storage.reader import open_table
from grao_pipeline.testing import group_row, write_table

ROWS = [group_row(f"question {i}", ["a", "b"][: 1 + i % 2], None if i == 1 else "c", answer=str(i)) for i in range(5)]
WITH_NULLS = pa.Table.from_pylist(ROWS, schema=GROUPS.arrow()).to_pylist()
"""The same rows with every column of the contract."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Groups in parts of four and one, one without a reference."""
    return write_table(tmp_path / "groups", "groups", ROWS)


def test_polars_has_every_row_and_the_types_of_the_contract(path: str) -> None:
    frame = open_table(path).polars()
    assert frame.to_dicts() == WITH_NULLS
    assert frame.schema["completion_logprobs"] == pl.List(pl.List(pl.Float32))
    assert open_table(path).polars(["policy", "group_id"]).columns == ["policy", "group_id"]


def test_a_dataset_has_every_row_and_can_be_mapped_and_saved(path: str, tmp_path: Path) -> None:
    dataset = open_table(path).dataset()
    assert isinstance(dataset, datasets.Dataset)
    assert dataset.to_list() == WITH_NULLS
    assert dataset.map(lambda row: {"num_samples": len(row["completions"])})["num_samples"][:] == [1, 2, 1, 2, 1]
    dataset.to_parquet(str(tmp_path / "copy.parquet"))
    assert pq.read_table(tmp_path / "copy.parquet").to_pylist() == WITH_NULLS
    assert open_table(path).dataset(["completions"]).column_names == ["completions"]


def test_a_table_is_a_directory_that_other_software_reads_as_it_is(path: str, tmp_path: Path) -> None:
    assert pl.read_parquet(path).to_dicts() == WITH_NULLS
    assert pl.scan_parquet(path).select(pl.len()).collect().item() == len(ROWS)
    assert pd.read_parquet(path)["group_id"].tolist() == [row["group_id"] for row in ROWS]
    assert pq.read_table(path).to_pylist() == WITH_NULLS
    loaded = datasets.load_dataset("parquet", data_dir=path, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["group_id"][:] == [row["group_id"] for row in ROWS]


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    table = open_table(write_table(tmp_path / "empty", "groups", []))
    names = [column.name for column in GROUPS.columns]
    assert (table.polars().shape, table.polars().columns) == ((0, len(names)), names)
    assert (table.dataset().num_rows, table.dataset().column_names) == (0, names)


@pytest.mark.parametrize("view", ["polars", "dataset", "arrow"])
def test_a_damaged_part_is_refused_by_every_view(path: str, view: str) -> None:
    part = Path(path) / "part-000001.parquet"
    data = part.read_bytes()
    part.write_bytes(data[:100] + bytes([data[100] ^ 0x80]) + data[101:])
    with pytest.raises(DamagedPart, match=r"part-000001\.parquet is damaged"):
        getattr(open_table(path), view)()
