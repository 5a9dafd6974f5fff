"""The contract: which values a table may hold, and how precisely an invalid value is reported."""

from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.errors import SchemaError
from grao_pipeline.schemas import ADVANTAGES, GROUPS, LOGPROBS, PROMPTS, SCORES, TABLES, TableSchema
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.parquet import decode, encode
from grao_pipeline.storage.validation import conform, validate
from tests import tiny
from tests.tiers import examples

SCORE = {"group_id": "g0", "rewards": [1.0, None], "reference_reward": None, "statuses": ["ok", "error"]}
ADVANTAGE = {"group_id": "g0", "rewards": [1.0, None], "advantages": [0.5, None]}


def good_rows(schema: TableSchema) -> list[dict[str, Any]]:
    """Three valid rows of a table, two samples a group."""
    if schema is PROMPTS:
        return [tiny.prompt_row(f"question {i}", "answer") for i in range(3)]
    if schema is GROUPS:
        return [tiny.group_row(f"question {i}", ["a", "b"]) for i in range(3)]
    if schema is LOGPROBS:
        rows = {"sample_logprobs": [[-0.5, -1.0], [-2.0]], "reference_logprobs": None, "policy": "p"}
        return [{**rows, "group_id": f"g{i}"} for i in range(3)]
    one: dict[str, Any] = SCORE if schema is SCORES else ADVANTAGE
    return [{**one, "group_id": f"g{i}"} for i in range(3)]


def arrow(schema: TableSchema, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema.arrow())


def refusal(schema: TableSchema, rows: list[dict[str, Any]]) -> str:
    with pytest.raises(SchemaError) as caught:
        validate(arrow(schema, rows), schema, "dir/part-000007.parquet")
    return str(caught.value)


def test_a_sample_of_which_the_policy_sampled_nothing_names_its_group() -> None:
    """Empty samples, null masks and mixed ones are valid."""
    group = tiny.group_row("one", ["a", "b", ""], token_ids=[[5, 6], [7, 8], []])
    valid = group | {"completion_masks": [[False, True], None, []]}
    validate(pa.Table.from_pylist([group, valid | {"group_id": "x"}], schema=GROUPS.arrow()), GROUPS, "here")
    wrong = valid | {"group_id": "y", "completion_masks": [[False, True], [False, False], []]}
    with pytest.raises(SchemaError, match="a sample of group y that the policy sampled none of its tokens"):
        validate(pa.Table.from_pylist([group, valid, wrong], schema=GROUPS.arrow()), GROUPS, "here")


@pytest.mark.parametrize("schema", TABLES.values(), ids=list(TABLES))
def test_valid_rows_are_valid(schema: TableSchema) -> None:
    table = arrow(schema, good_rows(schema))
    assert conform(table, schema, "here").equals(table)
    validate(table, schema, "here")
    validate(table.slice(0, 0), schema, "here")


@pytest.mark.parametrize(
    ("schema", "column"),
    [(schema, c.name) for schema in TABLES.values() for c in schema.columns if not c.nullable],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_missing_column_is_named_with_its_meaning(schema: TableSchema, column: str) -> None:
    table = arrow(schema, good_rows(schema)).drop_columns([column])
    with pytest.raises(SchemaError) as caught:
        conform(table, schema, "scores/part-000003.parquet")
    assert f"scores/part-000003.parquet lacks column '{column}'" in str(caught.value)
    assert schema.column(column).doc in str(caught.value)
    assert f"It has: {', '.join(table.column_names)}." in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "column"),
    [(schema, c.name) for schema in TABLES.values() for c in schema.columns if not c.nullable],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_forbidden_null_is_reported_with_its_row(schema: TableSchema, column: str) -> None:
    rows = good_rows(schema)
    rows[2] = {**rows[2], column: None}
    assert f"dir/part-000007.parquet: column '{column}' holds a null in row 2" in refusal(schema, rows)


@pytest.mark.parametrize(
    ("schema", "change", "complaint"),
    [
        (
            GROUPS,
            {"messages": [{"role": None, "content": "x"}]},
            "column 'messages' holds a null in the field 'role' in row 1",
        ),
        (GROUPS, {"messages": [None]}, "column 'messages' holds a null in row 1"),
        (GROUPS, {"prompt_token_ids": [1, None]}, "column 'prompt_token_ids' holds a null in row 1"),
        (GROUPS, {"reference_token_ids": [1, None]}, "column 'reference_token_ids' holds a null in row 1"),
        (GROUPS, {"completions": ["a", None]}, "column 'completions' holds a null in row 1"),
        (GROUPS, {"completion_token_ids": [[5, None, 2], [6, 7, 2]]}, "'completion_token_ids' holds a null in row 1"),
        (GROUPS, {"completion_token_ids": [[5, 6, 2], None]}, "'completion_token_ids' holds a null in row 1"),
        (GROUPS, {"completion_logprobs": [[-1, -1, None], [-1, -1, -1]]}, "'completion_logprobs' holds a null in row"),
        (GROUPS, {"finish_reasons": ["stop", None]}, "column 'finish_reasons' holds a null in row 1"),
        (GROUPS, {"finish_reasons": ["stop", "eos"]}, "column 'finish_reasons' holds ['eos']; allowed are stop, len"),
        (GROUPS, {"completions": ["a"]}, "row 1 has 2 elements in 'completion_token_ids' but 1 in 'completions'"),
        (GROUPS, {"completion_logprobs": [[-1.0] * 3]}, "row 1 has 1 elements in 'completion_logprobs' but 2 in"),
        (GROUPS, {"finish_reasons": ["stop"] * 3}, "row 1 has 3 elements in 'finish_reasons' but 2 in 'completions'"),
        (
            GROUPS,
            {"completion_logprobs": [[-1.0] * 3, [-1.0] * 2]},
            "3 token IDs but 2 values in 'completion_logprobs'",
        ),
        (GROUPS, {"completion_logprobs": [[float("nan")] * 3] * 2}, "'completion_logprobs' holds nan, which is not"),
        (
            SCORES,
            {"rewards": [1.0, float("nan")]},
            "column 'rewards' holds nan, which is not a finite number, in row 1",
        ),
        (SCORES, {"rewards": [float("-inf"), None]}, "column 'rewards' holds -inf, which is not a finite number"),
        (SCORES, {"reference_reward": float("inf")}, "column 'reference_reward' holds inf, which is not a finite"),
        (SCORES, {"rewards": [], "statuses": []}, "column 'rewards' is an empty list in row 1; a group needs"),
        (SCORES, {"rewards": [1.0]}, "row 1 has 2 elements in 'statuses' but 1 in 'rewards'"),
        (SCORES, {"details": ["one"]}, "row 1 has 1 elements in 'details' but 2 in 'rewards'"),
        (SCORES, {"statuses": ["ok", "fine"]}, "column 'statuses' holds ['fine']; allowed are ok, error, unparsable"),
        (SCORES, {"group_id": "g0"}, "column 'group_id' repeats 'g0'; it must be unique"),
        (ADVANTAGES, {"advantages": [0.1]}, "row 1 has 1 elements in 'advantages' but 2 in 'rewards'"),
        (
            ADVANTAGES,
            {"advantages": [0.1, float("nan")]},
            "column 'advantages' holds nan, which is not a finite number",
        ),
        (ADVANTAGES, {"token_weights": [[1.0, None], None]}, "column 'token_weights' holds a null in row 1"),
        (ADVANTAGES, {"token_weights": [[1.0]]}, "row 1 has 1 elements in 'token_weights' but 2 in 'rewards'"),
    ],
)
def test_an_invalid_value_is_named_by_file_column_and_row(
    schema: TableSchema, change: dict[str, Any], complaint: str
) -> None:
    rows = good_rows(schema)
    rows[1] = {**rows[1], **change}
    message = refusal(schema, rows)
    assert message.startswith("dir/part-000007.parquet")
    assert complaint in message


def test_rows_are_counted_across_chunks_and_slices() -> None:
    rows = [{**SCORE, "group_id": f"g{i}"} for i in range(6)]
    rows[5]["rewards"] = [None, float("nan")]
    table = arrow(SCORES, rows)
    chunked = pa.concat_tables([table.slice(0, 2), table.slice(2, 1), table.slice(3)])
    with pytest.raises(SchemaError, match="in row 5"):
        validate(chunked, SCORES, "here")
    with pytest.raises(SchemaError, match="in row 1"):
        validate(table.slice(4), SCORES, "here")
    validate(chunked.slice(0, 5), SCORES, "here")


def test_misaligned_logprobs_name_the_group() -> None:
    rows = good_rows(GROUPS)
    rows[0] = {**rows[0], "completion_logprobs": None}
    rows[2] = {**rows[2], "completion_logprobs": [None, [-1.0]]}  # 3 token ids
    table = arrow(GROUPS, rows)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    with pytest.raises(SchemaError, match=f"group {rows[2]['group_id']} has 3 token IDs but 1 values"):
        validate(chunked, GROUPS, "here")


@pytest.mark.parametrize(
    ("schema", "change"),
    [
        (GROUPS, {"completion_logprobs": None}),
        (GROUPS, {"completion_logprobs": [None, [-1.0, -2.0, -3.0]]}),
        (GROUPS, {"completion_token_ids": [[], [1]], "completion_logprobs": [[], [-1.0]]}),
        (GROUPS, {"reference": None, "reference_token_ids": None, "rejected": None}),
        (SCORES, {"rewards": [None, None], "details": [None, "why"]}),
        (ADVANTAGES, {"token_weights": [None, [1.0]], "reward_mean": None, "reference_advantage": None}),
    ],
)
def test_values_that_may_be_null_survive_a_round_trip(schema: TableSchema, change: dict[str, Any]) -> None:
    rows = good_rows(schema)
    rows[1] = {**rows[1], **change}
    table = arrow(schema, rows)
    validate(table, schema, "here")
    stored = decode(bytes(encode(table, Provenance(schema.name, "f" * 32, {}, {}))), "here")
    validate(conform(stored, schema, "here"), schema, "here")
    assert stored.equals(table)
    assert {name: stored.to_pylist()[1][name] for name in change} == change


def test_conform_drops_extra_columns_restores_the_order_and_fills_in_nulls() -> None:
    table = arrow(SCORES, good_rows(SCORES)).select(["statuses", "rewards", "group_id"])
    conformed = conform(table.append_column("judge", pa.array(["x"] * 3)), SCORES, "here")
    assert conformed.schema.equals(SCORES.arrow())
    assert conformed.to_pylist() == [
        {"group_id": f"g{i}", "rewards": [1.0, None], "reference_reward": None, "statuses": ["ok", "error"]}
        | {"details": None, "steps": None}
        for i in range(3)
    ]


def wide(kind: pa.DataType) -> pa.DataType:
    """The type that Polars, pandas or NumPy would have chosen for a column of ours."""
    if pa.types.is_list(kind):
        return pa.large_list(wide(kind.value_type))
    if pa.types.is_struct(kind):  # the other way round
        return pa.struct([(field.name, wide(field.type)) for field in reversed(list(kind))])
    return {pa.string(): pa.large_string(), pa.int32(): pa.int64(), pa.float32(): pa.float64()}.get(kind, kind)


@pytest.mark.parametrize("schema", TABLES.values(), ids=list(TABLES))
def test_wide_types_of_other_software_are_narrowed(schema: TableSchema) -> None:
    rows = good_rows(schema)
    other = pa.Table.from_pylist(rows, schema=pa.schema([(c.name, wide(c.type)) for c in schema.columns]))
    assert conform(other, schema, "here").equals(arrow(schema, rows))


def test_a_frame_made_in_polars_conforms() -> None:
    rows = [{key: value for key, value in row.items() if key != "rejected"} for row in good_rows(GROUPS)]
    assert conform(pl.DataFrame(rows).to_arrow(), GROUPS, "here").equals(arrow(GROUPS, rows))


@pytest.mark.parametrize(
    ("schema", "column", "values"),
    [
        (GROUPS, "prompt_token_ids", [[2**31], [1], [1]]),  # larger than any int32
        (GROUPS, "prompt_token_ids", [[0.5], [1.0], [1.0]]),
        (GROUPS, "round", ["first", "0", "0"]),
        (GROUPS, "completions", [1, 2, 3]),
        (GROUPS, "messages", ["hello", "hello", "hello"]),
        (SCORES, "rewards", [["good"], ["bad"], ["bad"]]),
        (SCORES, "rewards", [1.0, 2.0, 3.0]),
    ],
)
def test_a_column_of_the_wrong_type_is_named_with_both_types(
    schema: TableSchema, column: str, values: list[Any]
) -> None:
    table = arrow(schema, good_rows(schema))
    index = table.column_names.index(column)
    with pytest.raises(SchemaError) as caught:
        conform(table.set_column(index, column, pa.array(values)), schema, "there")
    message = str(caught.value)
    assert f"there: column '{column}' has type {pa.array(values).type}" in message
    assert f"a table of kind '{schema.name}' needs {schema.column(column).type}" in message


@settings(max_examples=examples(50))
@given(st.lists(st.lists(st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1)))
def test_lists_must_be_parallel(rewards: list[list[float | None]]) -> None:
    rows = [
        {"group_id": f"g{i}", "rewards": values, "statuses": ["ok"] * len(values)} for i, values in enumerate(rewards)
    ]
    validate(arrow(SCORES, rows), SCORES, "here")
    for row in rows[-1:]:
        row["statuses"] = [*row["statuses"], "ok"]
        assert f"row {len(rows) - 1} has {len(rewards[-1]) + 1} elements in 'statuses'" in refusal(SCORES, rows)
