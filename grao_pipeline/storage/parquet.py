"""Arrow tables ↔ the bytes of one Parquet part, which include the stage's provenance."""

from contextlib import AbstractContextManager

import pyarrow as pa
import pyarrow.parquet as pq

from grao_pipeline.errors import DamagedPart
from grao_pipeline.json_text import parse_json
from grao_pipeline.storage.arrow_errors import arrow_errors
from grao_pipeline.storage.manifest import METADATA_KEY, Provenance
from grao_pipeline.storage.seal import SEAL_METADATA, sealed

# Small enough that a trainer can shuffle by row group; a narrow table compresses better in larger ones.
GROUPS_PER_ROW_GROUP = 64
NARROW_ROWS_PER_ROW_GROUP = 65_536
LEAST_COMPRESSED_ROWS = 256
"""Of advantages. Preparing zstd for every column of fewer takes as long as all else, and saves little."""


def encode(table: pa.Table, provenance: Provenance, name: str = "") -> bytes:
    """The bytes of a part: Parquet with page checksums, provenance as JSON under the metadata key `grao`, and a
    checksum of all of it (`seal.py`); compressed with zstd, unless it holds a few advantages.

    Args:
        name: of the file, which the checksum covers, too.
    """
    sink = pa.BufferOutputStream()
    with_metadata = table.replace_schema_metadata({METADATA_KEY: provenance.json_bytes})
    rows = GROUPS_PER_ROW_GROUP if provenance.table == "groups" else NARROW_ROWS_PER_ROW_GROUP
    # Advantages and ids rarely repeat: their dictionary would be larger than the values, and slow to build.
    is_numbers = provenance.table == "advantages"
    is_plain = is_numbers and table.num_rows < LEAST_COMPRESSED_ROWS
    with pq.ParquetWriter(
        sink,
        with_metadata.schema,
        compression="none" if is_plain else "zstd",
        write_page_checksum=True,
        use_dictionary=not is_numbers,
        write_statistics=not is_plain,
    ) as writer:
        writer.write_table(with_metadata, row_group_size=rows)
        writer.add_key_value_metadata(SEAL_METADATA)
    return sealed(sink.getvalue().to_pybytes(), name)


def encode_plain(table: pa.Table) -> bytes:
    """The bytes of a Parquet file that is not part of a table: zstd, with page checksums and the schema's metadata."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue().to_pybytes())


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


def column_names(data: bytes, where: str) -> list[str]:
    """The names of a Parquet file's columns, according to its footer.

    Raises:
        DamagedPart: the bytes are not Parquet.
    """
    with _as_damage(where):
        return list(pq.read_schema(pa.BufferReader(data)).names)


def key_values(data: bytes, where: str) -> dict[bytes, bytes]:
    """The key-value metadata in a Parquet file's footer.

    Raises:
        DamagedPart: the bytes are not Parquet.
    """
    with _as_damage(where):
        return dict(pq.read_metadata(pa.BufferReader(data)).metadata or {})


def read_provenance(data: bytes, where: str) -> Provenance | None:
    """The provenance in a part's bytes; None where other software wrote the part.

    Raises:
        DamagedPart: the bytes are not Parquet, or their provenance cannot be parsed.
    """
    metadata = key_values(data, where)
    if METADATA_KEY not in metadata:
        return None
    try:
        return Provenance.from_dict(parse_json(metadata[METADATA_KEY]), where)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedPart(
            f"{where} is damaged: its metadata '{METADATA_KEY.decode()}' cannot be parsed ({error!r})."
        ) from error


def _as_damage(where: str) -> AbstractContextManager[None]:
    return arrow_errors(
        where, lambda reason: DamagedPart(f"{where} is damaged: it cannot be read as Parquet ({reason}).")
    )
