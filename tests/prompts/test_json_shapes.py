"""The shapes of a JSON file: the rows are those that pandas wrote."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.prompts.text_files import read_text_file

ROWS: list[dict[str, Any]] = [{"question": "a", "answer": "1"}, {"question": "b", "answer": "2"}]


def read(path: Path, progress: RecordedProgress | None = None) -> list[dict[str, Any]]:
    return list(read_text_file(path, progress or RecordedProgress()))


@pytest.mark.parametrize("orient", ["columns", "index", "records", "split"])
def test_what_pandas_writes_is_read(tmp_path: Path, orient: Any) -> None:
    pd.DataFrame(ROWS).to_json(tmp_path / "a.json", orient=orient)
    assert read(tmp_path / "a.json") == ROWS


def test_what_pandas_writes_as_a_table_is_read(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_json(tmp_path / "a.json", orient="table")
    progress = RecordedProgress()
    assert read(tmp_path / "a.json", progress) == [{"index": index, **row} for index, row in enumerate(ROWS)]
    assert progress.notes == [f"{tmp_path / 'a.json'}: the rows are under 'data'; left out: schema."]


@pytest.mark.parametrize(
    "value",
    [
        {"data": ROWS},
        {"rows": [{"row_idx": index, "row": row, "truncated_cells": []} for index, row in enumerate(ROWS)]},
        {"question": ["a", "b"], "answer": ["1", "2"]},
    ],
)
def test_rows_may_be_wrapped(tmp_path: Path, value: object) -> None:
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read(tmp_path / "a.json") == ROWS


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "a"}]},
        {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]},
        {"prompt": "a", "data": [{"x": 1}]} | {"data": "text"},
        {"prompt": "a", "info": {"0": 1}},
        {},
    ],
)
def test_another_object_is_one_row(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(row))
    assert read(tmp_path / "a.json") == [row]


def test_rows_of_another_length_than_the_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"columns": ["a", "b"], "data": [[1]]}')
    with pytest.raises(InputError, match="does not have the 2 cells"):
        read(tmp_path / "a.json")
