"""One process at a time writes to a directory of an object store.

A store frees no lock when its holder dies. So the holder renews the lock, and one that was not renewed for a while, or
whose holder was a process of this machine that is gone, is taken over. A holder that was only paused finds that out at
its next renewal, and stops.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self
from uuid import uuid4

from grao_pipeline.errors import InputError, StageFailure
from grao_pipeline.json_text import InvalidJson, parse_json
from grao_pipeline.storage.directory import Directory

RENEWAL_SECONDS = 20.0
STALE_SECONDS = 120.0
SETTLE_SECONDS = 1.0
"""After taking a lock over: of several that do so at the same time the last one has it. Longer than it takes from
reading who holds it to writing."""


class ObjectLock:
    """A lock on a directory at a URL, taken on construction and held until `release` or the end of a `with` block.

    Args:
        name: of the object.
        activity: what the holder does to the directory, for the message.

    Raises (on construction):
        StageFailure: another process holds the lock; the message names it.
        InputError: the store does not answer.
    """

    def __init__(self, directory: Directory, name: str, activity: str) -> None:
        self._directory = directory
        self._name = name
        self._mark = uuid4().hex
        if not directory.create(name, self._content()):
            self._refuse_other(activity, _is_gone)
            directory.write(name, self._content())
            time.sleep(SETTLE_SECONDS)
            self._refuse_other(activity, lambda holder: False)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="grao-lock", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let other processes in."""
        self._done.set()
        self._thread.join()
        holder = self._holder()
        if holder is not None and holder["mark"] == self._mark:
            self._directory.delete(self._name)

    def _refuse_other(self, activity: str, is_gone: Callable[[dict[str, object]], bool]) -> None:
        """Raises: StageFailure: another process that is not gone holds the lock. (Where the answer to the request that
        created it was lost, it is ours already.)"""
        holder = self._holder()
        if holder is not None and holder["mark"] != self._mark and not is_gone(holder):
            raise StageFailure(
                f"{self._directory.url} is {activity} by {holder['process']} on {holder['host']}. Wait for it, or stop "
                f"it; without a sign of life it is taken to be dead after {STALE_SECONDS:g} seconds."
            )

    def _renew(self) -> None:
        while not self._done.wait(RENEWAL_SECONDS):
            try:
                holder = self._holder()
                if holder is not None and holder["mark"] != self._mark:
                    self._stop(holder)
                    return
                self._directory.write(self._name, self._content())
            except InputError:
                continue  # the stages say what is wrong with the store

    def _stop(self, holder: dict[str, object]) -> None:
        """End this process as SIGTERM does: what it has finished stays."""
        sys.stderr.write(
            f"{holder['process']} on {holder['host']} has taken {self._directory.url} over, since this process gave no "
            f"sign of life for {STALE_SECONDS:g} seconds (paused, or without a network); stopping.\n"
        )
        os.kill(os.getpid(), signal.SIGTERM)

    def _content(self) -> bytes:
        holder = {"process": os.getpid(), "host": socket.gethostname(), "mark": self._mark, "renewed": time.time()}
        return json.dumps(holder).encode()

    def _holder(self) -> dict[str, object] | None:
        """Who holds it; None where it is free, or not ours to read."""
        if not self._directory.exists(self._name):
            return None
        try:
            value = parse_json(self._directory.read(self._name))
        except InvalidJson:
            return None
        return value if isinstance(value, dict) and value.keys() >= {"process", "host", "mark", "renewed"} else None


def _is_gone(holder: dict[str, object]) -> bool:
    if holder["host"] == socket.gethostname():
        try:
            os.kill(int(str(holder["process"])), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
    return time.time() - float(str(holder["renewed"])) > STALE_SECONDS
