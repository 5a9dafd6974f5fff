"""Parts as one Polars frame, after all of their bytes were verified.

Polars reads large local files by itself, of these only the columns that are wanted; small ones are read into memory,
which takes less time where they are many.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from grao_pipeline.errors import DamagedPart
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import PartEntry

if TYPE_CHECKING:
    import polars as pl

LARGE = 1 << 20
"""Bytes of a file."""


def read_frame(
    directory: Directory,
    entries: Sequence[PartEntry],
    columns: Sequence[str],
    verified: Callable[[PartEntry], bytes],
    verify: Callable[[PartEntry], object],
) -> "pl.DataFrame":
    """These columns of consecutive parts.

    Args:
        verified: the bytes of a part; raises DamagedPart where they are not the ones that were committed.
        verify: the same without the bytes.

    Raises:
        DamagedPart: see `verified`; or a part changed while it was read.
    """
    import polars as pl

    paths = [path for entry in entries if (path := directory.local_path(entry.name)) is not None]
    if not paths or any(entry.bytes < LARGE for entry in entries):
        return pl.scan_parquet([verified(entry) for entry in entries]).select(columns).collect()
    stamps = {entry.name: directory.stamp(entry.name) for entry in entries}
    for entry in entries:
        verify(entry)
    try:
        return pl.scan_parquet(paths, glob=False, hive_partitioning=False).select(columns).collect()
    finally:
        for name, stamp in stamps.items():
            if directory.stamp(name) != stamp:
                raise DamagedPart(f"{directory.path(name)} changed while it was read. Run the command again.")
