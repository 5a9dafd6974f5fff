"""What installed packages publish for this one, as entry points."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

OURS = "grao_pipeline."


def published(group: str) -> Sequence[EntryPoint]:
    """The entry points of a group, e.g. `grao_pipeline.stages`. Packages are looked through again only where another
    one may have been installed.
    """
    return _all(tuple(map(_place, sys.path))).get(group, ())


@lru_cache(maxsize=1)
def _all(places: tuple[tuple[str, int], ...]) -> Mapping[str, Sequence[EntryPoint]]:
    """By their groups, of which only ours are looked at."""
    entries = entry_points()
    ours = [group for group in entries.groups if group.startswith(OURS)]
    return {group: tuple(entries.select(group=group)) for group in ours}


def _place(path: str) -> tuple[str, int]:
    """A folder of packages, and when it was last changed."""
    with suppress(OSError):
        return path, os.stat(path or ".").st_mtime_ns
    return path, 0
