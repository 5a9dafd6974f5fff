"""Flushes of a table's parts to disk: together, once a second and before a manifest names them, not one by one.

A flush waits for the disk for milliseconds, longer than a small part takes. A part that a loss of power tears before
its flush is noticed by its checksum (`seal.py`) and regenerated, like any other damaged one.
"""

import time
from collections.abc import Callable, Iterable

from grao_pipeline.storage.directory import Directory

SECONDS = 1.0


class DelayedFlush:
    """Remembers which files of a directory are not flushed yet.

    Args:
        clock: in seconds.
    """

    def __init__(self, directory: Directory, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._last = clock()
        self._waiting: list[str] = []
        self._flushed: set[str] = set()

    def add(self, name: str) -> None:
        """A file that was written without a flush. Those that wait are flushed where the last flush was a second ago.

        Raises:
            InputError: a file cannot be flushed.
        """
        self._waiting.append(name)
        self._flushed.discard(name)
        if self._clock() - self._last >= SECONDS:
            self.flush(self._waiting)

    def flush(self, names: Iterable[str]) -> None:
        """Flush these files, unless that has happened.

        Raises:
            InputError: a file cannot be flushed.
        """
        missing = [name for name in names if name not in self._flushed]
        if missing:
            self._directory.flush(missing)
        self._flushed.update(missing)
        self._waiting = [name for name in self._waiting if name not in self._flushed]
        self._last = self._clock()
