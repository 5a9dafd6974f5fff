"""Mean lengths of the sequences that a store holds, to estimate by."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.errors import DamagedPart
from grao_pipeline.storage.parquet import decode, read_provenance

COLUMNS = ["prompt_token_ids", "reference_token_ids", "completion_token_ids"]
MAX_PARTS = 64


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a group's prompt and reference (0 where it has none), and of one completion."""

    prompt: float
    reference: float
    completion: float


def seen_lengths(groups: Path, max_new_tokens: int) -> Lengths | None:
    """Over at most 64 committed parts of the groups tables below a directory that were sampled with this limit.

    Returns:
        None without any.
    """
    tables = []
    for path in islice(_parts(groups, max_new_tokens), MAX_PARTS):
        with suppress(DamagedPart):  # an estimate does without it
            tables.append(decode(path.read_bytes(), str(path), COLUMNS))
    if not tables:
        return None
    table = pa.concat_tables(tables)
    completions = pc.list_flatten(table.column("completion_token_ids"))
    return Lengths(
        _mean(table.column("prompt_token_ids")), _mean(table.column("reference_token_ids")), _mean(completions)
    )


def _parts(groups: Path, max_new_tokens: int) -> Iterator[Path]:
    for table in sorted(groups.glob("*/")):
        paths = sorted(table.glob("part-*.parquet"))
        if paths:
            provenance = None
            with suppress(DamagedPart):
                provenance = read_provenance(paths[0].read_bytes(), str(paths[0]))
            if provenance is not None and provenance.options.get("max_new_tokens") == max_new_tokens:
                yield from paths


def _mean(lists: pa.ChunkedArray) -> float:
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return float(pc.mean(lengths).as_py() or 0.0)
