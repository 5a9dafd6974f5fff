"""Mean lengths of the sequences that a store holds, to estimate by."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.errors import DamagedPart
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest_file import part_files
from grao_pipeline.storage.parquet import decode, read_provenance
from grao_pipeline.storage.places import Place

COLUMNS = ["prompt_token_ids", "reference_token_ids", "completion_token_ids"]
MAX_PARTS = 64


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a group's prompt and reference (0 where it has none), and of one completion.

    Attributes:
        references: of a group, on average: 1 where all groups have one.
    """

    prompt: float
    reference: float
    completion: float
    references: float


def seen_lengths(groups: Place, max_new_tokens: int) -> Lengths | None:
    """Over at most 64 committed parts of the groups tables below a directory that were sampled with this limit.

    Returns:
        None without any.
    """
    tables = []
    for directory, name in islice(_parts(groups, max_new_tokens), MAX_PARTS):
        with suppress(DamagedPart):  # an estimate does without it
            tables.append(decode(directory.read(name), directory.path(name), COLUMNS))
    if not tables:
        return None
    table = pa.concat_tables(tables)
    completions = pc.list_flatten(table.column("completion_token_ids"))
    of_references = table.column("reference_token_ids")
    return Lengths(
        _mean(table.column("prompt_token_ids")),
        _mean(of_references),
        _mean(completions),
        1.0 - of_references.null_count / max(len(of_references), 1),
    )


def _parts(groups: Place, max_new_tokens: int) -> Iterator[tuple[Directory, str]]:
    for folder in Directory(groups).folders():
        table = Directory(groups / folder)
        names = [name for name in part_files(table) if name.startswith("part-")]
        if names:
            provenance = None
            with suppress(DamagedPart):
                provenance = read_provenance(table.read(names[0]), table.path(names[0]))
            if provenance is not None and provenance.options.get("max_new_tokens") == max_new_tokens:
                yield from ((table, name) for name in names)


def _mean(lists: pa.ChunkedArray) -> float:
    total = pc.sum(pc.list_value_length(lists)).as_py()  # None where every list is null
    return float(total or 0) / max(1, len(lists))
