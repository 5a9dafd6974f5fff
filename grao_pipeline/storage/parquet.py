"""Arrow tables ↔ the bytes of one Parquet part, which include the stage's provenance."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from grao_pipeline.errors import DamagedPart
from grao_pipeline.storage.manifest import METADATA_KEY, Provenance

# Small enough that a trainer can shuffle by row group; a narrow table compresses better in larger ones.
GROUPS_PER_ROW_GROUP = 64
NARROW_ROWS_PER_ROW_GROUP = 65_536


def encode(table: pa.Table, provenance: Provenance) -> memoryview:
    """The bytes of a part: zstd Parquet with page checksums, provenance as JSON under the metadata key `grao`."""
    sink = pa.BufferOutputStream()
    with_metadata = table.replace_schema_metadata({METADATA_KEY: provenance.to_json().encode()})
    rows = GROUPS_PER_ROW_GROUP if provenance.table == "groups" else NARROW_ROWS_PER_ROW_GROUP
    pq.write_table(
        with_metadata,
        sink,
        compression="zstd",
        row_group_size=rows,
        write_page_checksum=True,
        # Advantages and ids rarely repeat: their dictionary would be larger than the values, and slow to build.
        use_dictionary=provenance.table != "advantages",
    )
    return memoryview(sink.getvalue())


def decode(data: bytes, where: str, columns: list[str] | None = None) -> pa.Table:
    """The table in a part's bytes, without metadata.

    Raises:
        DamagedPart: the bytes are not Parquet, or a page differs from what was written.
    """
    with _as_damage(where):
        # One thread: a part is small, and pyarrow's thread pools sometimes abort a process that exits right after
        # reading.
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True)
        wanted = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
        table = file.read(columns=wanted, use_threads=False)
    return table.replace_schema_metadata(None)


def count_rows(data: bytes, where: str) -> int:
    """The number of rows according to a part's footer.

    Raises:
        DamagedPart: the bytes are not Parquet.
    """
    with _as_damage(where):
        return int(pq.read_metadata(pa.BufferReader(data)).num_rows)


def read_provenance(data: bytes, where: str) -> Provenance | None:
    """The provenance in a part's bytes; None where other software wrote the part.

    Raises:
        DamagedPart: the bytes are not Parquet, or their provenance cannot be parsed.
    """
    with _as_damage(where):
        metadata = pq.read_schema(pa.BufferReader(data)).metadata or {}
    if METADATA_KEY not in metadata:
        return None
    try:
        return Provenance.from_dict(json.loads(metadata[METADATA_KEY]), where)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedPart(
            f"{where} is damaged: its metadata '{METADATA_KEY.decode()}' cannot be parsed ({error!r})."
        ) from error


@contextmanager
def _as_damage(where: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DamagedPart(f"{where} is damaged: it cannot be read as Parquet ({error}).") from error
