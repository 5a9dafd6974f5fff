"""Tables that other software wrote: accepted where they follow the contract, refused with file and column where not."""

from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grao_pipeline.errors import DamagedPart, InputError, MismatchError, SchemaError
from grao_pipeline.schemas import GROUPS, SCORES
from grao_pipeline.storage.reader import open_table
from tests import tiny

ROWS = [tiny.group_row(f"question {i}", ["a", "b"]) for i in range(5)]
MINIMAL: list[dict[str, Any]] = [
    {"group_id": f"g{i}", "rewards": [float(i), 0.5], "statuses": ["ok", "ok"]} for i in range(4)
]
COMPLETED = [{**row, "reference_reward": None, "details": None, "steps": None} for row in MINIMAL]


def by_polars(rows: list[dict[str, Any]], path: Path) -> None:
    pl.DataFrame(rows).write_parquet(path)


def by_pandas(rows: list[dict[str, Any]], path: Path) -> None:
    pd.DataFrame(rows).to_parquet(path)


def by_duckdb(rows: list[dict[str, Any]], path: Path) -> None:
    frame = pl.DataFrame(rows)  # noqa: F841 - DuckDB finds it by its name
    duckdb.connect().execute(f"COPY (SELECT * FROM frame) TO '{path}' (FORMAT parquet)")


@pytest.mark.parametrize("write", [by_polars, by_pandas, by_duckdb])
def test_groups_written_by_other_software_are_read_as_ours(write: Any, tmp_path: Path) -> None:
    """int64 ids, float64 log-probs, large lists and strings, no column `rejected`, an extra column."""
    rows = [{**{k: v for k, v in row.items() if k != "rejected"}, "note": i} for i, row in enumerate(ROWS)]
    write(rows[:3], tmp_path / "b.parquet")
    write(rows[3:], tmp_path / "c.parquet")
    table = open_table(str(tmp_path), "groups")
    assert (table.foreign, table.num_parts, table.num_rows) == (True, 2, 5)
    assert table.arrow().equals(pa.Table.from_pylist(ROWS, schema=GROUPS.arrow()))
    assert table.part(1, ["rejected", "group_id"]).to_pylist() == [
        {"rejected": None, "group_id": row["group_id"]} for row in ROWS[3:]
    ]


def test_one_file_is_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_polars(MINIMAL, tmp_path / "scores.parquet")
    by_polars(MINIMAL, tmp_path / "other.parquet")
    monkeypatch.chdir(tmp_path)
    for url in (str(tmp_path / "scores.parquet"), "scores.parquet", f"file://{tmp_path}/scores.parquet"):
        assert open_table(url, "scores").arrow().to_pylist() == COMPLETED


def test_a_directory_may_have_the_suffix_of_a_file(tmp_path: Path) -> None:
    """As Spark and Dask write them."""
    (tmp_path / "scores.parquet").mkdir()
    by_polars(MINIMAL, tmp_path / "scores.parquet" / "part-00000-c0ffee.snappy.parquet")
    (tmp_path / "scores.parquet" / "_SUCCESS").write_bytes(b"")
    assert open_table(str(tmp_path / "scores.parquet"), "scores").arrow().to_pylist() == COMPLETED


def test_foreign_tables_are_read_from_an_object_store(tmp_path: Path) -> None:
    by_polars(MINIMAL, tmp_path / "local.parquet")
    store = fsspec.filesystem("memory")
    for name in (f"/{tmp_path.name}/scores/x.parquet", f"/{tmp_path.name}.parquet"):
        store.pipe_file(name, (tmp_path / "local.parquet").read_bytes())
        for url in {f"memory:/{name.removesuffix('/x.parquet')}", f"memory:/{name}"}:
            assert open_table(url, "scores").arrow().to_pylist() == COMPLETED
    store.rm_file(f"/{tmp_path.name}.parquet")


def test_the_fingerprint_depends_on_content_and_kind(tmp_path: Path) -> None:
    def fingerprint(name: str, rows: list[dict[str, Any]]) -> str:
        (tmp_path / name).mkdir()
        by_polars(rows, tmp_path / name / f"{name}.parquet")
        return open_table(str(tmp_path / name), "scores").fingerprint

    one, copy, changed = fingerprint("a", MINIMAL), fingerprint("b", MINIMAL), fingerprint("c", MINIMAL[:3])
    assert one == copy != changed
    assert open_table(str(tmp_path / "a"), "groups").fingerprint != one


def test_a_single_part_of_ours_is_a_foreign_table(tmp_path: Path) -> None:
    tiny.write_table(tmp_path / "scores", "scores", MINIMAL, rows_per_part=2)
    part = open_table(str(tmp_path / "scores" / "part-000001.parquet"), "scores")
    assert part.foreign
    assert part.arrow().to_pylist() == COMPLETED[2:]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rewards": None}, "column 'rewards' holds a null in row 1"),
        ({"statuses": ["ok"]}, "row 1 has 1 elements in 'statuses' but 2 in 'rewards'"),
        ({"statuses": ["ok", "great"]}, "column 'statuses' holds ['great']"),
        ({"rewards": [0.5, float("nan")]}, "column 'rewards' holds nan"),
        ({"group_id": "g2"}, "column 'group_id' repeats 'g2'"),
    ],
)
def test_an_invalid_value_is_reported_with_file_and_column(
    change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    by_polars(MINIMAL[:2], tmp_path / "fine.parquet")
    by_polars([MINIMAL[2], {**MINIMAL[3], **change}], tmp_path / "wrong.parquet")
    table = open_table(str(tmp_path), "scores")
    assert table.part(0).num_rows == 2
    with pytest.raises(SchemaError) as caught:
        table.part(1, ["group_id"])
    assert f"{tmp_path}/wrong.parquet" in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"metadata": "[1]"}, "column 'metadata' is not as it should be in row 1: expected an object, found '[1]'."),
        ({"metadata": '{"a": ' * 5_000 + "1" + "}" * 5_000}, "in row 1: nested deeper than 100 levels."),
        ({"metadata": '{"a": "\\ud800"}'}, "in row 1: it is not valid Unicode."),
        ({"metadata": '{"a": 1'}, "in row 1: Expecting ',' delimiter."),
        ({"tools": '{"name": "f"}'}, "column 'tools' is not as it should be in row 1: expected a list of objects"),
        ({"messages": []}, "column 'messages' is an empty conversation in row 1."),
        ({"completion_token_ids": [[5, -1, 2]]}, "column 'completion_token_ids' holds a negative token ID in row 1."),
        (
            {"completion_logprobs": [[-1.0, 0.5, -2.0]]},
            "'completion_logprobs' holds a log-prob above 0 in row 1.",
        ),
    ],
)
def test_groups_that_cannot_be_are_reported_with_their_row(
    change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    rows = [tiny.group_row("a", ["x"]), {**tiny.group_row("b", ["x"]), **change}]
    pq.write_table(pa.Table.from_pylist(rows, schema=GROUPS.arrow()), tmp_path / "g.parquet")
    with pytest.raises(SchemaError) as caught:
        open_table(str(tmp_path), "groups").part(0)
    assert f"{tmp_path}/g.parquet: " in str(caught.value)
    assert complaint in str(caught.value)


def test_a_number_that_json_does_not_have_is_null_to_a_reward(tmp_path: Path) -> None:
    row = {**tiny.group_row("q", ["a"]), "metadata": '{"answer": NaN, "limit": Infinity}'}
    pq.write_table(pa.Table.from_pylist([row], schema=GROUPS.arrow()), tmp_path / "g.parquet")
    out = tmp_path / "scores"
    result = tiny.grao("score", tmp_path / "g.parquet", out, "--reward", "length", "--reward-arg", "target=5")
    assert result.exit_code == 0, result.output
    assert open_table(str(out), "scores").num_rows == 1


def test_a_missing_or_wrong_column_is_reported_with_its_file(tmp_path: Path) -> None:
    pl.DataFrame(MINIMAL).drop("statuses").write_parquet(tmp_path / "a.parquet")
    pl.DataFrame(MINIMAL).with_columns(rewards=pl.lit("high")).write_parquet(tmp_path / "b.parquet")
    table = open_table(str(tmp_path), "scores")
    with pytest.raises(SchemaError, match=r"a\.parquet lacks column 'statuses'"):
        table.part(0)
    with pytest.raises(SchemaError, match=r"b\.parquet: column 'rewards' has type large_string"):
        table.part(1)


def test_the_kind_of_a_foreign_table_must_be_named(tmp_path: Path) -> None:
    by_polars(MINIMAL, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"has Parquet files but no \.manifest\.parquet; name the kind of table"):
        open_table(str(tmp_path))


def test_an_invalid_or_changed_file_is_a_damaged_part(tmp_path: Path) -> None:
    by_polars(MINIMAL, tmp_path / "a.parquet")
    table = open_table(str(tmp_path), "scores")
    by_polars(MINIMAL[:1], tmp_path / "a.parquet")
    with pytest.raises(DamagedPart, match=r"a\.parquet changed after the table was opened"):
        table.part(0)
    (tmp_path / "b.parquet").write_text("group_id,rewards\n")
    with pytest.raises(DamagedPart, match=r"b\.parquet is damaged: it cannot be read as Parquet"):
        open_table(str(tmp_path), "scores")


def test_companion_rows_are_looked_up_by_group_id(tmp_path: Path) -> None:
    by_polars([MINIMAL[3], MINIMAL[0]], tmp_path / "a.parquet")
    by_polars([MINIMAL[2], MINIMAL[1]], tmp_path / "b.parquet")
    scores = open_table(str(tmp_path), "scores")
    ids = pa.chunked_array([["g1"], ["g3", "g0"]])
    aligned = scores.aligned_part(ids, 0, ["rewards"])
    assert aligned.to_pylist() == [{"group_id": f"g{i}", "rewards": MINIMAL[i]["rewards"]} for i in (1, 3, 0)]
    assert scores.aligned_part(ids, 99).schema.equals(SCORES.arrow())
    with pytest.raises(MismatchError, match=r"has no row for group g7. It needs one row per group"):
        scores.aligned_part(pa.chunked_array([["g1", "g7"]]), 0)


def test_a_group_with_two_rows_of_scores_is_refused(tmp_path: Path) -> None:
    by_polars(MINIMAL, tmp_path / "a.parquet")
    by_polars([{**MINIMAL[2], "rewards": [9.0, 9.0]}], tmp_path / "b.parquet")
    with pytest.raises(SchemaError, match="column 'group_id' repeats 'g2'"):
        open_table(str(tmp_path), "scores").aligned_part(pa.chunked_array([["g0"]]), 0)


def test_a_rewritten_part_with_our_metadata_is_not_a_finished_table(tmp_path: Path) -> None:
    """pyarrow carries the metadata along; without the manifest such a file cannot be told from one being written."""
    tiny.write_table(tmp_path / "scores", "scores", MINIMAL)
    (tmp_path / "edited").mkdir()
    table = pq.read_table(tmp_path / "scores" / "part-000000.parquet")
    pq.write_table(table.slice(1), tmp_path / "edited" / "a.parquet")
    with pytest.raises(InputError, match="edited is incomplete"):
        open_table(str(tmp_path / "edited"), "scores")
    pq.write_table(table.slice(1).replace_schema_metadata(None), tmp_path / "edited" / "a.parquet")
    assert open_table(str(tmp_path / "edited"), "scores").num_rows == 3
