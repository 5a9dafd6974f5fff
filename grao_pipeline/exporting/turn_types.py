"""The type of a turn in an export: the fields that some turn of the table has, as templates take nulls for values."""

from collections.abc import Iterator

import pyarrow as pa

from grao_pipeline.schemas import MESSAGES
from grao_pipeline.storage.reader import TableReader

OF_ANSWERS = ("reasoning", "reference_reasoning")
TOOLS = "tools"


def used_types(reader: TableReader) -> tuple[pa.DataType, bool]:
    """The type of a conversation of this table with the answers to it, and whether any prompt has tools."""
    names = {column.name for column in reader.schema.columns}
    columns = [name for name in ("messages", *OF_ANSWERS, TOOLS) if name in names]
    used = {"role", "content"}
    has_tools = False
    for part in reader.parts(columns):
        used.update(_used_fields(part.column("messages")))
        if any(_has_values(part.column(name)) for name in OF_ANSWERS if name in columns):
            used.add("reasoning_content")
        has_tools |= _has_values(part.column(TOOLS))
    turn = MESSAGES.value_type
    return pa.list_(pa.struct([turn.field(i) for i in range(turn.num_fields) if turn.field(i).name in used])), has_tools


def _has_values(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count < len(column))


def _used_fields(messages: pa.ChunkedArray) -> Iterator[str]:
    for chunk in messages.chunks:
        turns = chunk.flatten()
        for index in range(turns.type.num_fields):
            if turns.field(index).null_count < len(turns):
                yield turns.type.field(index).name
