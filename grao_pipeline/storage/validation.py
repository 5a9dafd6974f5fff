"""Checks that a table keeps the contract: columns and types, then the values.

No check of what is right makes an Arrow scalar from a Python value: for the first one pyarrow imports pandas, where
that is installed, which takes longer than a small table.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from grao_pipeline.errors import SchemaError
from grao_pipeline.lazy import LazyModule
from grao_pipeline.schemas import FINISH_REASONS, NULLABLE_ELEMENTS, NULLABLE_FIELDS, PER_TOKEN, STATUSES, TableSchema
from grao_pipeline.storage.json_columns import check_json

if TYPE_CHECKING:
    import pyarrow.compute as pc
else:
    pc = LazyModule("pyarrow.compute")  # a tenth of a second, which a stage can spend while it reads

TOKEN_IDS = ("prompt_token_ids", "reference_token_ids", "completion_token_ids")
LOGPROBS = ("completion_logprobs", "completion_behavior_logprobs")
ROUNDING = 0.01
"""Nats. An engine in low precision computes a certain token's log-prob as slightly above 0."""


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


def checked(table: pa.Table, schema: TableSchema, where: str) -> pa.Table:
    """Rows that other software wrote, with exactly the contract's columns, and nothing in them that it forbids.

    Raises:
        SchemaError: names `where`, the column and the first invalid row.
    """
    table = conform(table, schema, where)
    validate(table, schema, where)
    check_json(table, where)
    return table


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
    _check_messages(table, where)
    _check_tokens(table, where)
    _check_token_lengths(table, where)
    _check_masks(table, where)
    for name, allowed in (("finish_reasons", FINISH_REASONS), ("statuses", STATUSES)):
        if name in table.column_names:
            unknown = set(pc.unique(pc.list_flatten(table.column(name))).to_pylist()) - set(allowed)
            if unknown:
                raise SchemaError(
                    f"{where}: column '{name}' holds {sorted(unknown)!r}; allowed are {', '.join(allowed)}."
                )
    if "group_id" in table.column_names:
        refuse_repeats(table, "group_id", where)


def validate_slices(table: pa.Table, slices: Mapping[str, pa.Table], schema: TableSchema) -> None:
    """Check the values of consecutive parts, which is faster on all their rows than part by part.

    Args:
        table: the rows of all parts.
        slices: the parts by their names.

    Raises:
        SchemaError: names the part, the column and the first invalid row.
    """
    try:
        validate(table, schema, next(iter(slices), ""))
    except SchemaError:  # which part it is; or none, where an ID is unique in each
        for name, part in slices.items():
            validate(part, schema, name)


def refuse_repeats(table: pa.Table, name: str, where: str) -> None:
    """Check that the values of a column are unique.

    Raises:
        SchemaError: names a value that appears twice.
    """
    if pc.count_distinct(table.column(name), mode="all").as_py() < table.num_rows:
        counts = pc.value_counts(table.column(name))
        repeated = counts.filter(pc.greater(counts.field("counts"), 1))
        raise SchemaError(f"{where}: column '{name}' repeats {repeated[0]['values'].as_py()!r}; it must be unique.")


def _forbidden_value(values: pa.Array, nullable: Sequence[bool]) -> tuple[int, str] | None:
    """(index, description) of the first value that the contract forbids, at any depth; None where all are valid.

    Args:
        nullable: whether a null is allowed at this depth, at the next, …; deeper it never is.
    """
    if values.null_count and not any(nullable[:1]):
        return _first(pc.is_null(values)), "a null"
    if pa.types.is_floating(values.type):
        finite = pc.is_finite(values)
        if not pc.all(finite, min_count=0).as_py():
            index = int(pc.index(finite, False).as_py())
            return index, f"{values[index].as_py()!r}, which is not a finite number,"
    if pa.types.is_list(values.type):
        problem = _forbidden_value(values.flatten(), nullable[1:])
        if problem is not None:
            return int(pc.list_parent_indices(values)[problem[0]].as_py()), problem[1]
    if pa.types.is_struct(values.type):
        for field, inner in zip(values.type, values.flatten(), strict=True):
            # A field inside a null struct is null, too.
            problem = _forbidden_value(inner, (field.name in NULLABLE_FIELDS or values.null_count > 0, *nullable[1:]))
            if problem is not None:
                return problem[0], f"{problem[1]} in the field '{field.name}'"
    return None


def _check_parallel(table: pa.Table, schema: TableSchema, where: str) -> None:
    if not schema.parallel:
        return
    first = schema.parallel[0]
    expected = pc.list_value_length(table.column(first))
    if pc.min(expected).as_py() == 0:
        raise SchemaError(
            f"{where}: column '{first}' is an empty list in row {_first(pc.equal(expected, 0))}; a group needs at "
            "least one sample."
        )
    for name in schema.parallel[1:]:
        lengths = pc.list_value_length(table.column(name))
        different = pc.not_equal(lengths, expected)
        if pc.any(different).as_py():
            row = _first(different)
            raise SchemaError(
                f"{where}: row {row} has {lengths[row].as_py()} elements in '{name}' but "
                f"{expected[row].as_py()} in '{first}'; both need one element per sample."
            )


def _check_messages(table: pa.Table, where: str) -> None:
    """A conversation has a turn."""
    if "messages" in table.column_names:
        lengths = pc.list_value_length(table.column("messages"))
        if pc.min(lengths).as_py() == 0:
            row = _first(pc.equal(lengths, 0))
            raise SchemaError(f"{where}: column 'messages' is an empty conversation in row {row}.")


def _check_tokens(table: pa.Table, where: str) -> None:
    """No token ID is negative, no log-prob positive: whatever holds one is not what its column says."""
    limits = [
        *((name, "a negative token ID", lambda token_id: token_id < 0) for name in TOKEN_IDS),
        *((name, "a log-prob above 0", lambda logprob: logprob > ROUNDING) for name in LOGPROBS),
    ]
    for name, what, is_wrong in limits:
        first_row = 0
        for chunk in table.column(name).chunks if name in table.column_names else ():
            row = _first_row(chunk, is_wrong)
            if row is not None:
                raise SchemaError(f"{where}: column '{name}' holds {what} in row {first_row + row}.")
            first_row += len(chunk)


def _first_row(values: pa.Array, is_wrong: Callable[[float], bool]) -> int | None:
    """The first row with a wrong element, at any depth; None where all are right."""
    if pa.types.is_list(values.type):
        index = _first_row(values.flatten(), is_wrong)
        return None if index is None else int(pc.list_parent_indices(values)[index].as_py())
    extremes = [value for value in pc.min_max(values).as_py().values() if value is not None]
    if not any(map(is_wrong, extremes)):
        return None
    return next(row for row, value in enumerate(values.to_pylist()) if value is not None and is_wrong(value))


def _check_token_lengths(table: pa.Table, where: str) -> None:
    """Every sample has as many values per token as token IDs, unless it has none."""
    for name in PER_TOKEN:
        if name not in table.column_names:
            continue
        present = table.filter(pc.is_valid(table.column(name)))
        values = present.column(name)
        num_ids = pc.list_value_length(pc.list_flatten(present.column("completion_token_ids")))
        num_values = pc.list_value_length(pc.list_flatten(values))
        different = pc.not_equal(num_ids, num_values)  # null where a sample has no values
        if pc.any(different).as_py():
            sample = _first(different)
            group_id = present.column("group_id")[pc.list_parent_indices(values)[sample].as_py()].as_py()
            raise SchemaError(
                f"{where}: a sample of group {group_id} has {num_ids[sample].as_py()} token IDs but "
                f"{num_values[sample].as_py()} values in '{name}'; both need one per token."
            )


def _check_masks(table: pa.Table, where: str) -> None:
    """In every sample with tokens, the policy sampled one at least."""
    if "completion_masks" not in table.column_names:
        return
    present = table.filter(pc.is_valid(table.column("completion_masks")))
    if not len(present):
        return
    masks = pc.list_flatten(present.column("completion_masks"))
    has_tokens = pc.greater(pc.list_value_length(masks), 0)
    sampled = pc.unique(pc.list_parent_indices(masks).filter(pc.list_flatten(masks)))
    indices = pa.array(range(len(masks)), sampled.type)
    empty = pc.and_(pc.fill_null(has_tokens, False), pc.invert(pc.is_in(indices, value_set=sampled)))
    if pc.any(empty).as_py():
        parents = pc.list_parent_indices(present.column("completion_masks"))
        group_id = present.column("group_id")[parents[_first(empty)].as_py()].as_py()
        raise SchemaError(
            f"{where}: 'completion_masks' says of a sample of group {group_id} that the policy sampled none of its "
            "tokens. Leave such a sample out."
        )


def _first(mask: pa.Array | pa.ChunkedArray) -> int:
    return int(pc.index(mask, True).as_py())
