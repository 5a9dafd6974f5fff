"""Arrow tables ↔ the bytes of one Parquet part, with the stage's provenance inside."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from grao_pipeline.errors import DamagedPart
from grao_pipeline.storage.manifest import METADATA_KEY, Provenance

# Small enough that a trainer can shuffle by row group; a narrow table compresses better in larger ones.
GROUPS_PER_ROW_GROUP = 64
NARROW_ROWS_PER_ROW_GROUP = 65_536


def encode(table: pa.Table, provenance: Provenance) -> memoryview:
    """The bytes of a part: zstd Parquet, provenance as JSON under the metadata key `grao`."""
    sink = pa.BufferOutputStream()
    with_metadata = table.replace_schema_metadata({METADATA_KEY: provenance.to_json().encode()})
    rows = GROUPS_PER_ROW_GROUP if provenance.table == "groups" else NARROW_ROWS_PER_ROW_GROUP
    pq.write_table(with_metadata, sink, compression="zstd", row_group_size=rows)
    return memoryview(sink.getvalue())


def decode(data: bytes, where: str, columns: list[str] | None = None) -> pa.Table:
    """The table in a part's bytes, without metadata.

    Raises:
        DamagedPart: the bytes are not Parquet.
    """
    try:
        present = pq.read_schema(pa.BufferReader(data)).names
        wanted = None if columns is None else [name for name in columns if name in present]
        table = pq.read_table(pa.BufferReader(data), columns=wanted)
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedPart(f"{where} is damaged: it cannot be read as Parquet ({error}).") from error
    return table.replace_schema_metadata(None)


def read_provenance(data: bytes, where: str) -> Provenance | None:
    """The provenance in a part's bytes, or None where other software wrote it.

    Raises:
        DamagedPart: the bytes are not Parquet.
    """
    try:
        metadata = pq.read_schema(pa.BufferReader(data)).metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedPart(f"{where} is damaged: it cannot be read as Parquet ({error}).") from error
    if METADATA_KEY not in metadata:
        return None
    return Provenance.from_dict(json.loads(metadata[METADATA_KEY]), where)
