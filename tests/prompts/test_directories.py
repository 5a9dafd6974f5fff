"""Directories: every data file is read, belongs to another split, or is named."""

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.prompts.sources import open_source


def write(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        row = {"prompt": name, "completion": "b"}
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist([row]), path)
        else:
            path.write_text(json.dumps(row) + "\n")


def prompts_of(source: Path, split: str = "train") -> list[str]:
    with open_source(str(source), split, None, RecordedProgress()) as opened:
        return [row["prompt"] for row in opened.rows]


@pytest.mark.parametrize(
    "names", [("a.parquet", "b.jsonl"), ("a.jsonl", "b.parquet", "c.jsonl"), ("x/a.jsonl", "x/b.csv")]
)
def test_two_kinds_of_data_files_are_refused_by_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    write(tmp_path, *names, "README.md", "_SUCCESS")
    with pytest.raises(InputError, match="data files of several kinds") as error:
        prompts_of(tmp_path)
    assert all(name in str(error.value) for name in names)


def test_files_that_are_no_data_are_no_second_kind(tmp_path: Path) -> None:
    write(tmp_path, "train.parquet", "README.md", ".cache/a.jsonl", "notes.txt")
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert prompts_of(tmp_path) == ["train.parquet"]


def test_a_file_of_no_split_is_named(tmp_path: Path) -> None:
    write(tmp_path / "d", "train.jsonl", "test.jsonl", "more.jsonl")
    progress = RecordedProgress()
    summary = build_prompts(str(tmp_path / "d"), str(tmp_path / "out"), PromptsOptions(), progress)
    assert (summary.files, summary.other_splits, summary.left_out) == (("train.jsonl",), ("test",), ("more.jsonl",))
    assert [warning.split(": ", 1)[1] for warning in progress.warnings] == [
        "files that belong to no split are left out: more.jsonl."
    ]


def test_what_save_to_disk_wrote_is_read(tmp_path: Path) -> None:
    rows = [{"prompt": str(index), "completion": "b"} for index in range(5)]
    data = datasets.Dataset.from_list(rows)
    data.save_to_disk(str(tmp_path / "one"), num_shards=2)
    datasets.DatasetDict(train=data.select([3, 1]), dev=data).save_to_disk(str(tmp_path / "several"))
    assert prompts_of(tmp_path / "one") == ["0", "1", "2", "3", "4"]
    assert prompts_of(tmp_path / "several") == ["3", "1"]
    assert prompts_of(tmp_path / "several", "dev") == ["0", "1", "2", "3", "4"]
    with pytest.raises(InputError, match=r"no split 'test'\. It has: train, dev"):
        prompts_of(tmp_path / "several", "test")


def test_shards_of_parquet_may_differ_in_columns_and_types(tmp_path: Path) -> None:
    shards: list[list[dict[str, object]]] = [
        [{"prompt": "a", "note": None, "level": 1}],
        [{"prompt": "b", "note": "hello", "level": "two"}],
        [{"prompt": "c", "tags": ["x"], "level": {"n": 3.5}}],
    ]
    for number, rows in enumerate(shards):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"train-{number}.parquet")
    with open_source(str(tmp_path), "train", None, RecordedProgress()) as opened:
        assert list(opened.rows) == [rows[0] for rows in shards]


def test_the_index_of_pandas_is_no_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"], "__index_level_0__": [7]}), tmp_path / "a.parquet")
    with open_source(str(tmp_path / "a.parquet"), "train", None, RecordedProgress()) as opened:
        assert list(opened.rows) == [{"prompt": "a"}]
