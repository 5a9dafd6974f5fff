"""The manifest of a table, read without the library."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def manifest_of(table: str | Path) -> dict[str, Any]:
    metadata = pq.read_metadata(Path(table) / ".manifest.parquet").metadata
    value: dict[str, Any] = json.loads(metadata[b"grao_manifest"])
    return value
