"""Secrets that are planted in the environment, and what to search for them."""

from pathlib import Path

import pyarrow.parquet as pq

CANARY = "canary7d1f"
VARIABLES = ("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "WANDB_API_KEY")


def readable(path: Path) -> bytes:
    """The bytes of a file; of Parquet, whose pages are compressed, its values and metadata."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        data += repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()
    return data
