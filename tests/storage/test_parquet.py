"""Parts: their bytes are always the same, and other software can read them."""

import io
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grao_pipeline.errors import DamagedPart, InputError
from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.manifest import Provenance, installed_versions
from grao_pipeline.storage.parquet import count_rows, decode, encode, read_provenance
from tests import tiny

SCORE = {"rewards": [0.5, None], "reference_reward": None, "statuses": ["ok", "error"], "details": [None, "dé\nad"]}
ADVANTAGE = {"rewards": [1.0, None], "advantages": [-0.5, None], "reference_advantage": 0.25, "token_weights": None}
ROWS: dict[str, list[dict[str, Any]]] = {
    "prompts": [tiny.prompt_row("Zwölf?", "12", answer=12), tiny.prompt_row("No reference.")],
    "groups": [tiny.group_row("Zwölf?", ["12", "drei\n"]), tiny.group_row("No reference.", ["", "x"], None)],
    "scores": [{"group_id": "a", **SCORE}, {"group_id": "b", **SCORE, "details": None, "reference_reward": 1.0}],
    "advantages": [
        {"group_id": "a", **ADVANTAGE, "reward_mean": 1.0, "reward_std": 0.0},
        {"group_id": "b", **ADVANTAGE, "reward_mean": None, "reward_std": None, "token_weights": [[1.0, 0.5], None]},
    ],
}


def arrow(table: str) -> pa.Table:
    return pa.Table.from_pylist(ROWS[table], schema=TABLES[table].arrow())


def part(table: str) -> bytes:
    return bytes(encode(arrow(table), Provenance(table, "f" * 32, {"samples": 2}, {"prompts": "a" * 32})))


def plain(value: Any) -> Any:
    """NumPy's, pandas' and DuckDB's values as Python's."""
    if isinstance(value, np.ndarray):
        return [plain(element) for element in value.tolist()]
    if isinstance(value, list | tuple):
        return [plain(element) for element in value]
    if isinstance(value, dict):
        return {key: plain(element) for key, element in value.items()}
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return None
    return value


def in_polars(path: Path) -> list[dict[str, Any]]:
    return pl.read_parquet(path).to_dicts()


def in_duckdb(path: Path) -> list[dict[str, Any]]:
    result = duckdb.connect().execute(f"SELECT * FROM read_parquet('{path}')")
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def in_pandas(path: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = pd.read_parquet(path).to_dict("records")
    return records


def in_datasets(path: Path) -> list[dict[str, Any]]:
    import datasets

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(path.parent / "hf"))
    rows: list[dict[str, Any]] = loaded.to_list()
    return rows


@pytest.mark.parametrize("reader", [in_polars, in_duckdb, in_pandas, in_datasets])
@pytest.mark.parametrize("table", ROWS)
def test_every_table_opens_elsewhere_with_the_same_values(table: str, reader: Any, tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(part(table))
    assert [plain(row) for row in reader(path)] == arrow(table).to_pylist()


@pytest.mark.parametrize("table", ROWS)
def test_a_part_holds_its_table_and_provenance(table: str) -> None:
    data = part(table)
    assert decode(data, "here").equals(arrow(table))
    assert count_rows(data, "here") == 2
    origin = json.loads(pq.read_schema(io.BytesIO(data)).metadata[b"grao"])
    assert origin == {
        "contract": 2,
        "table": table,
        "fingerprint": "f" * 32,
        "options": {"samples": 2},
        "inputs": {"prompts": "a" * 32},
        "details": {},
        "versions": installed_versions(),
    }
    assert read_provenance(data, "here") == Provenance(table, "f" * 32, {"samples": 2}, {"prompts": "a" * 32})


def test_chunks_do_not_change_the_bytes() -> None:
    table, provenance = arrow("groups"), Provenance("groups", "f" * 32, {}, {})
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert bytes(encode(table, provenance)) == bytes(encode(chunked, provenance))


def test_parts_are_zstd_with_page_checksums_and_small_row_groups() -> None:
    groups = pa.concat_tables([arrow("groups")] * 65)  # 130 rows: 64 + 64 + 2
    metadata = pq.read_metadata(pa.BufferReader(encode(groups, Provenance("groups", "f", {}, {}))))
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [64, 64, 2]
    assert {metadata.row_group(0).column(i).compression for i in range(metadata.num_columns)} == {"ZSTD"}
    scores = pa.concat_tables([arrow("scores")] * 65)
    assert pq.read_metadata(pa.BufferReader(encode(scores, Provenance("scores", "f", {}, {})))).num_row_groups == 1


def test_columns_are_read_in_the_requested_order() -> None:
    assert decode(part("scores"), "here", ["statuses", "nothing", "group_id"]).column_names == ["statuses", "group_id"]


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"not a Parquet file at all", part("scores")[:-1], part("scores")[:900]]
)
def test_bytes_that_are_not_parquet_are_a_damaged_part(data: bytes) -> None:
    for read in (decode, count_rows, read_provenance):
        with pytest.raises(DamagedPart, match=r"out/part-000002.parquet is damaged: it cannot be read as Parquet"):
            read(data, "out/part-000002.parquet")


def test_a_flipped_bit_in_a_page_is_noticed_without_a_manifest() -> None:
    """The page is located by its content: texts that zstd cannot compress are in the file as they are."""
    text = "kBq8fZx1YtR5wLm0"
    table = pa.Table.from_pylist([{"prompt_id": text, "messages": [], "metadata": "{}"}], TABLES["prompts"].arrow())
    data = bytearray(encode(table, Provenance("prompts", "f" * 32, {}, {})))
    position = data.index(text.encode())
    data[position] ^= 1
    with pytest.raises(DamagedPart, match="here is damaged"):
        decode(bytes(data), "here")


def test_files_of_other_software_have_no_provenance() -> None:
    sink = io.BytesIO()
    pl.DataFrame({"group_id": ["a"]}).write_parquet(sink)
    assert read_provenance(sink.getvalue(), "here") is None
    assert count_rows(sink.getvalue(), "here") == 1


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"1", b"\xff", b'{"contract": 2}'])
def test_provenance_that_cannot_be_parsed_is_a_damaged_part(value: bytes) -> None:
    sink = io.BytesIO()
    pq.write_table(arrow("scores").replace_schema_metadata({"grao": value}), sink)
    with pytest.raises(DamagedPart, match="here is damaged: its metadata 'grao' cannot be parsed"):
        read_provenance(sink.getvalue(), "here")


def test_a_part_of_another_contract_is_refused_with_both_versions() -> None:
    provenance = Provenance("scores", "f" * 32, {}, {}, contract=3)
    with pytest.raises(
        InputError, match="here follows version 3 of the data contract; this program reads the versions 1, 2"
    ):
        read_provenance(bytes(encode(arrow("scores"), provenance)), "here")
