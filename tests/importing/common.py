"""A source of rows, and the rows of a table."""

import json
from pathlib import Path
from typing import Any

from grao_pipeline.storage.reader import open_table


def source(directory: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
    (directory / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory / name


def read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_table(str(path)).arrow().to_pylist()
    return rows
