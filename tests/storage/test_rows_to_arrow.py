"""Rows become what pyarrow makes of them, without pandas."""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.cli.main import main
from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.rows_to_arrow import rows_to_arrow
from tests.commands import forked


def numbered_fields(types: list[pa.DataType]) -> list[tuple[str, pa.DataType]]:
    return [(f"field {number}", type_) for number, type_ in enumerate(types)]


FLOATS = st.floats(width=32) | st.integers(-1000, 1000)
SIMPLE = {
    pa.string(): st.text(st.characters(codec="utf-8"), max_size=5),
    pa.bool_(): st.booleans(),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): FLOATS,
    pa.float64(): st.floats() | FLOATS,
}
TYPES = st.recursive(
    st.sampled_from(list(SIMPLE)),
    lambda inner: inner.map(pa.list_) | st.lists(inner, min_size=1, max_size=3).map(numbered_fields).map(pa.struct),
    max_leaves=4,
)


def values_of(type_: pa.DataType) -> st.SearchStrategy[Any]:
    """What a column of the type may hold; a struct may lack fields."""
    if pa.types.is_list(type_):
        return st.none() | st.lists(values_of(type_.value_type), max_size=4)
    if pa.types.is_struct(type_):
        return st.none() | st.fixed_dictionaries({}, optional={field.name: values_of(field.type) for field in type_})
    return st.none() | SIMPLE[type_]


@given(st.data(), st.lists(TYPES, max_size=3).map(numbered_fields).map(pa.schema))
def test_any_rows_of_any_types_are_those_of_pyarrow(data: st.DataObject, schema: pa.Schema) -> None:
    row = st.fixed_dictionaries({}, optional={field.name: values_of(field.type) for field in schema})
    rows = data.draw(st.lists(row, max_size=6))
    table, expected = rows_to_arrow(rows, schema), pa.Table.from_pylist(rows, schema=schema)
    table.validate(full=True)
    assert table.schema == expected.schema
    assert str(table.to_pylist()) == str(expected.to_pylist())  # NaN, too
    for column, other in zip(table.columns, expected.columns, strict=True):
        assert column.null_count == other.null_count


@pytest.mark.parametrize("table", TABLES)
def test_every_table_of_the_contract_has_types_that_it_knows(table: str) -> None:
    schema = TABLES[table].arrow()
    assert rows_to_arrow([], schema).equals(pa.Table.from_pylist([], schema=schema))
    assert rows_to_arrow([{}], schema).equals(pa.Table.from_pylist([{}], schema=schema))


@pytest.mark.parametrize(
    ("value", "type_", "error"),
    [
        (1, pa.string(), TypeError),
        ("1", pa.int32(), TypeError),
        (1.5, pa.int32(), TypeError),
        (2**31, pa.int32(), OverflowError),
        ("1", pa.float32(), TypeError),
        (7, pa.list_(pa.int32()), TypeError),
        ("ab", pa.list_(pa.string()), TypeError),
        ({"a": 1}, pa.list_(pa.string()), TypeError),
        ([("a", 1)], pa.struct([("a", pa.int32())]), TypeError),
        ("yes", pa.bool_(), TypeError),
        (1, pa.bool_(), TypeError),
    ],
)
def test_no_value_of_another_type_is_converted(value: object, type_: pa.DataType, error: type[Exception]) -> None:
    with pytest.raises(error):
        rows_to_arrow([{"a": value}], pa.schema([("a", type_)]))


def run_stages(commands: list[list[str]], report: Path) -> None:
    """In a new process: run commands; write which of them had loaded pandas at their ends."""
    loaded = []
    for command in commands:
        main(command, standalone_mode=False)
        if "pandas" in sys.modules:
            loaded.append(command[0])
    report.write_text(json.dumps(loaded))


@pytest.mark.slow
def test_no_stage_imports_pandas(model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {number}.", "response": f"{number}!"} for number in range(4)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prompts, groups, scores, advantages = (str(tmp_path / name) for name in ("prompts", "groups", "scores", "adv"))
    on_model = ["--model", str(model), "-q"]
    commands = [
        ["prompts", str(tmp_path / "rows.jsonl"), prompts, "-q"],
        ["generate", prompts, groups, *on_model, "--engine", "transformers", "--samples", "4", "--max-new-tokens", "8"],
        ["score", groups, scores, "--reward", "length", "--reward-arg", "target=3", "-q"],
        ["advantages", groups, advantages, "--scores", scores, "-q"],
        ["train", groups, advantages, str(tmp_path / "trained"), *on_model],
    ]
    process = forked(run_stages, commands, tmp_path / "report")
    process.join()
    assert json.loads((tmp_path / "report").read_text()) == []
    assert open_table(str(tmp_path / "adv")).num_rows == 4
