"""The data contract: the Arrow schema of every table, and the values that are valid in it.

Stages pass only Parquet to each other. `groups` is the only table with tokens. `scores` and `advantages` are narrow
companion tables of it: they have the same parts, rows and order, and the key `group_id`.

The lists in a row of groups are parallel: index i is sample i. Token IDs are int32, log-probabilities float32 in nats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.errors import SchemaError

CONTRACT_VERSION = 1

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
FinishReason = Literal["stop", "length", "abort"]
"""How a completion ended: with an end-of-turn token, at its token limit, or without being sampled."""
Status = Literal["ok", "error", "unparsable", "truncated"]
"""The outcome of judging a sequence; only `ok` has a reward."""
FINISH_REASONS: tuple[FinishReason, ...] = get_args(FinishReason)
STATUSES: tuple[Status, ...] = get_args(Status)
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
"""Rewards and advantages are stored as float32."""


@dataclass(frozen=True)
class Column:
    """One column of a table, e.g. `Column("reference", pa.string(), "the reference answer y", nullable=True)`."""

    name: str
    type: pa.DataType
    doc: str
    nullable: bool = False


@dataclass(frozen=True)
class TableSchema:
    """A table of the contract: its columns in order, and the list columns that must be equally long in every row."""

    name: str
    columns: tuple[Column, ...]
    parallel: tuple[str, ...] = ()

    def arrow(self) -> pa.Schema:
        """The Arrow schema. `validate` checks the nulls, since Parquet writers rarely declare nullability."""
        return pa.schema([pa.field(column.name, column.type) for column in self.columns])

    def column(self, name: str) -> Column:
        """The column with this name."""
        return next(column for column in self.columns if column.name == name)


PROMPT_COLUMNS = (
    Column("prompt_id", pa.string(), "content hash of the row's other columns, 32 hex digits"),
    Column("messages", MESSAGES, "the conversation, without the answer"),
    Column("reference", pa.string(), "the reference answer y", nullable=True),
    Column("rejected", pa.string(), "the dispreferred answer, where the source has one", nullable=True),
    Column("metadata", pa.string(), "a JSON object with what the rewards need"),
)

PROMPTS = TableSchema("prompts", PROMPT_COLUMNS)

GROUPS = TableSchema(
    "groups",
    (
        Column("group_id", pa.string(), "content hash of prompt_id, policy and the samples' token IDs"),
        *PROMPT_COLUMNS,
        Column("prompt_token_ids", pa.list_(pa.int32()), "the prompt exactly as the policy read it"),
        Column(
            "reference_token_ids",
            pa.list_(pa.int32()),
            "the reference as the continuation of that prompt, end-of-turn token included",
            nullable=True,
        ),
        Column("completions", pa.list_(pa.string()), "text of each sample, without special tokens"),
        Column("completion_token_ids", pa.list_(pa.list_(pa.int32())), "the token IDs that the engine sampled"),
        Column(
            "completion_logprobs",
            pa.list_(pa.list_(pa.float32())),
            "log-probability of each sampled token under the policy at temperature 1, in nats",
            nullable=True,
        ),
        Column("finish_reasons", pa.list_(pa.string()), "`stop`, `length` or `abort`"),
        Column("policy", pa.string(), "fingerprint of the weights that sampled"),
        Column("round", pa.int32(), "0 for the first round"),
        Column(
            "retokenized", pa.bool_(), "whether the completions' token IDs were derived from their text", nullable=True
        ),
    ),
    parallel=("completions", "completion_token_ids", "completion_logprobs", "finish_reasons"),
)

SCORES = TableSchema(
    "scores",
    (
        Column("group_id", pa.string(), "same rows, same order, same part as in groups"),
        Column("rewards", pa.list_(pa.float32()), "R(o_i); null where scoring failed"),
        Column("reference_reward", pa.float32(), "R(y); 0 for a pairwise reward", nullable=True),
        Column("statuses", pa.list_(pa.string()), "`ok`, `error`, `unparsable` or `truncated`"),
        Column("details", pa.list_(pa.string()), "explanation of each judgement, for people", nullable=True),
    ),
    parallel=("rewards", "statuses", "details"),
)

ADVANTAGES = TableSchema(
    "advantages",
    (
        Column("group_id", pa.string(), "same rows, same order, same part as in groups"),
        Column("rewards", pa.list_(pa.float32()), "the combined reward that the estimator saw"),
        Column("advantages", pa.list_(pa.float32()), "A_i; null = this sample is not trained on"),
        Column("reference_advantage", pa.float32(), "A_y; null = the reference is not trained on", nullable=True),
        Column("reward_mean", pa.float32(), "the group's mean reward that the estimator used", nullable=True),
        Column("reward_std", pa.float32(), "the group's population standard deviation", nullable=True),
        Column("token_weights", pa.list_(pa.list_(pa.float32())), "a factor per completion token", nullable=True),
    ),
    parallel=("rewards", "advantages", "token_weights"),
)

TABLES = {schema.name: schema for schema in (PROMPTS, GROUPS, SCORES, ADVANTAGES)}

# Lists whose elements may be null; in any other list a null is an error.
NULLABLE_ELEMENTS = {"rewards", "advantages", "details", "completion_logprobs", "token_weights"}


def conform(table: pa.Table, schema: TableSchema, where: str) -> pa.Table:
    """The table with exactly the contract's columns, order and types.

    A missing nullable column is filled with nulls. Columns are cast where the cast is safe (e.g. int64 token IDs to
    int32, large lists to lists). Additional columns are dropped.

    Raises:
        SchemaError: a column is missing or cannot be cast; the message names `where` and the column.
    """
    arrays = []
    for column in schema.columns:
        index = table.schema.get_field_index(column.name)
        if index < 0:
            if not column.nullable:
                raise SchemaError(
                    f"{where} lacks column '{column.name}' ({column.doc}) of a table of kind '{schema.name}'. "
                    f"It has: {', '.join(table.column_names)}."
                )
            arrays.append(pa.nulls(table.num_rows, column.type))
            continue
        try:
            arrays.append(table.column(index).cast(column.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise SchemaError(
                f"{where}: column '{column.name}' has type {table.schema.field(index).type}, "
                f"a table of kind '{schema.name}' needs {column.type} ({error})."
            ) from error
    return pa.Table.from_arrays(arrays, schema=schema.arrow())


def validate(table: pa.Table, schema: TableSchema, where: str) -> None:
    """Check the values of a conformed table: nulls, finite numbers, parallel lists, closed vocabularies.

    Raises:
        SchemaError: names `where`, the column and the first invalid row.
    """
    for column in schema.columns:
        first_row = 0
        for chunk in table.column(column.name).chunks:
            problem = _forbidden_value(chunk, (column.nullable, column.name in NULLABLE_ELEMENTS))
            if problem is not None:
                row, what = problem
                raise SchemaError(f"{where}: column '{column.name}' holds {what} in row {first_row + row}.")
            first_row += len(chunk)
    _check_parallel(table, schema, where)
    _check_token_lengths(table, where)
    for name, allowed in (("finish_reasons", FINISH_REASONS), ("statuses", STATUSES)):
        if name in table.column_names:
            unknown = set(pc.unique(pc.list_flatten(table.column(name))).to_pylist()) - set(allowed)
            if unknown:
                raise SchemaError(
                    f"{where}: column '{name}' holds {sorted(unknown)!r}; allowed are {', '.join(allowed)}."
                )
    if "group_id" in table.column_names:
        refuse_repeats(table, "group_id", where)


def refuse_repeats(table: pa.Table, name: str, where: str) -> None:
    """Check that the values of a column are unique.

    Raises:
        SchemaError: names a value that appears twice.
    """
    counts = pc.value_counts(table.column(name))
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise SchemaError(f"{where}: column '{name}' repeats {repeated[0]['values'].as_py()!r}; it must be unique.")


def _forbidden_value(values: pa.Array, nullable: Sequence[bool]) -> tuple[int, str] | None:
    """(index, description) of the first value that the contract forbids, at any depth; None where all are valid.

    Args:
        nullable: whether a null is allowed at this depth, at the next, …; deeper it never is.
    """
    if values.null_count and not any(nullable[:1]):
        return _first(pc.is_null(values)), "a null"
    if pa.types.is_floating(values.type):
        finite = pc.fill_null(pc.is_finite(values), True)
        if not pc.all(finite, min_count=0).as_py():
            index = int(pc.index(finite, False).as_py())
            return index, f"{values[index].as_py()!r}, which is not a finite number,"
    if pa.types.is_list(values.type):
        problem = _forbidden_value(values.flatten(), nullable[1:])
        if problem is not None:
            return int(pc.list_parent_indices(values)[problem[0]].as_py()), problem[1]
    if pa.types.is_struct(values.type):
        fields = (_forbidden_value(field, nullable[1:]) for field in values.flatten())
        return next((problem for problem in fields if problem is not None), None)
    return None


def _check_parallel(table: pa.Table, schema: TableSchema, where: str) -> None:
    if not schema.parallel:
        return
    first = schema.parallel[0]
    expected = pc.list_value_length(table.column(first))
    empty = pc.equal(expected, 0)
    if pc.any(empty).as_py():
        raise SchemaError(
            f"{where}: column '{first}' is an empty list in row {_first(empty)}; a group needs at least one sample."
        )
    for name in schema.parallel[1:]:
        lengths = pc.list_value_length(table.column(name))
        different = pc.fill_null(pc.not_equal(lengths, expected), False)
        if pc.any(different).as_py():
            row = _first(different)
            raise SchemaError(
                f"{where}: row {row} has {lengths[row].as_py()} elements in '{name}' but "
                f"{expected[row].as_py()} in '{first}'; both need one element per sample."
            )


def _check_token_lengths(table: pa.Table, where: str) -> None:
    """Every sample has as many log-probs as token IDs, unless it has none."""
    if "completion_logprobs" not in table.column_names:
        return
    present = table.filter(pc.is_valid(table.column("completion_logprobs")))
    logprobs = present.column("completion_logprobs")
    num_ids = pc.list_value_length(pc.list_flatten(present.column("completion_token_ids")))
    num_logprobs = pc.list_value_length(pc.list_flatten(logprobs))
    different = pc.fill_null(pc.not_equal(num_ids, num_logprobs), False)
    if pc.any(different).as_py():
        sample = _first(different)
        group_id = present.column("group_id")[pc.list_parent_indices(logprobs)[sample].as_py()].as_py()
        raise SchemaError(
            f"{where}: a sample of group {group_id} has {num_ids[sample].as_py()} token IDs but "
            f"{num_logprobs[sample].as_py()} values in 'completion_logprobs'; both need one per token."
        )


def _first(mask: pa.Array | pa.ChunkedArray) -> int:
    return int(pc.index(mask, True).as_py())
