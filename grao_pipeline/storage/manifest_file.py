"""The file of a table's manifest: a Parquet file without rows, so that a table is a directory of Parquet files alone.

pandas, Polars and `datasets` read such a directory as it is; a JSON file in it would stop all of them. The name begins
with a dot for `datasets`, which cannot read a file without rows.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from grao_pipeline.checksums import bytes_checksum
from grao_pipeline.errors import DamagedPart
from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import Manifest
from grao_pipeline.storage.parquet import key_values

MANIFEST = ".manifest.parquet"
REMEDY = "Run the command that wrote the table again."
OLD_MANIFEST = "manifest.json"
"""In tables of version 1 of the contract."""
KEY, CHECKSUM = b"grao_manifest", b"grao_manifest_sha256"
"""Metadata of the file: the manifest as JSON, and the checksum of that text."""

MAKERS = {
    "prompts": "grao prompts",
    "groups": "grao generate or grao import",
    "scores": "grao score",
    "advantages": "grao advantages",
    "logprobs": "grao logprobs",
}
"""The commands that write a kind of table, for people."""


def table_of_kind(kind: str | None) -> str:
    """What a message says is needed."""
    maker = f", which {MAKERS[kind]} makes" if kind in MAKERS else ""
    return f"a table of kind '{kind}'{maker}" if kind else "a table"


def has_manifest(url: str | Path) -> bool:
    """Whether a directory is a complete table of ours."""
    directory = Directory(url)
    return directory.exists(MANIFEST) or directory.exists(OLD_MANIFEST)


def part_files(directory: Directory) -> list[str]:
    """The names of the Parquet files of a directory, without that of the manifest."""
    return [name for name in directory.names() if name.endswith(".parquet") and name != MANIFEST]


def read_manifest(directory: Directory) -> Manifest | None:
    """The manifest of a table; None where it is not complete, or not ours.

    Raises:
        DamagedPart: the manifest is damaged.
    """
    if directory.exists(MANIFEST):
        where = directory.path(MANIFEST)
        return Manifest.from_json(_text(directory.read(MANIFEST), where), where)
    if directory.exists(OLD_MANIFEST):
        return Manifest.from_json(directory.read(OLD_MANIFEST), directory.path(OLD_MANIFEST))
    return None


def delete_manifest(directory: Directory) -> None:
    """Make a table count as unfinished."""
    for name in (MANIFEST, OLD_MANIFEST):
        if directory.exists(name):
            directory.delete(name)


def write_manifest(directory: Directory, manifest: Manifest) -> None:
    """Write a manifest: the last file of a table, whose existence means that the table is complete.

    Raises:
        InputError: the file cannot be written.
    """
    text = manifest.to_json().encode()
    schema = TABLES[manifest.provenance.table].arrow()
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema) as writer:
        writer.write_table(pa.Table.from_batches([], schema))  # `empty_table` imports pandas
        writer.add_key_value_metadata({KEY: text, CHECKSUM: bytes_checksum(text).encode()})
    directory.write(MANIFEST, memoryview(sink.getvalue()))


def _text(data: bytes, where: str) -> bytes:
    try:
        metadata = key_values(data, where)
    except DamagedPart as error:
        raise DamagedPart(f"{error} {REMEDY}") from error
    text: bytes = metadata.get(KEY, b"")
    if bytes_checksum(text).encode() != metadata.get(CHECKSUM):
        raise DamagedPart(f"{where} is damaged (it is not the text that was written). {REMEDY}")
    return text
