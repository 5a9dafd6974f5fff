"""SIGTERM and SIGINT as an exception, raised where no work can be torn in two."""

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, TypeVar

from grao_pipeline.errors import Interrupted

Item = TypeVar("Item")
SIGNALS = (signal.SIGTERM, signal.SIGINT)
PARENT_VARIABLE = "GRAO_PARENT_PID"
"""Environment variable that `grao rounds run` sets for its stages: a stage whose parent died stops too."""
GRACE_SECONDS = 30.0
"""So long a stage that was asked to stop may take to keep what is finished."""


class StopSignals:
    """While it is entered, a stop signal raises `Interrupted` in the iterator that is being waited for.

    What the caller does with an item is never interrupted: a signal that arrives meanwhile is raised before the next
    item is asked for. Outside the main thread, where Python delivers no signals, it does nothing.

    Example:
        with StopSignals() as signals:
            for groups in signals.interruptible(engine.generate(parts, sampling)):
                keep(groups)
    """

    def __init__(self) -> None:
        self._received: str | None = None
        self._waiting = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def interruptible(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items of `items`.

        Raises:
            Interrupted: a signal came.
        """
        while True:
            try:
                self._waiting = True
                self._raise_if_received()
                item = next(items)
            except StopIteration:
                return
            except SystemError as error:
                # So Python reports C code (Ray's `wait`) that returns a result although a signal's handler raised.
                if isinstance(error.__cause__, Interrupted):
                    raise error.__cause__ from None
                raise
            finally:
                self._waiting = False
            yield item

    def _receive(self, number: int, _: FrameType | None) -> None:
        self._received = signal.Signals(number).name
        if self._waiting:
            self._waiting = False  # once: what cleans up behind the exception must not be interrupted again
            self._raise_if_received()

    def _raise_if_received(self) -> None:
        if self._received is not None:
            raise Interrupted(f"Stopped by {self._received}.")
