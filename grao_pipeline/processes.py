"""Stop signals (SIGTERM, SIGINT) as an exception, raised only where no work can be torn in two."""

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

from grao_pipeline.errors import Interrupted

Item = TypeVar("Item")
Result = TypeVar("Result")
SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE_SECONDS = 30.0
"""How long a stage that was asked to stop may take to save what is finished."""


class StopSignals:
    """While it is entered, a stop signal ends a wait with `Interrupted`, and nothing else.

    A program waits in three ways: `interruptible` for the next item of an iterator, `wait` for a child process, `poll`
    not at all. A signal that arrives while the program works is noted and raised by the next wait. Outside the main
    thread, where Python delivers no signals, nothing is ever interrupted.

    Example:
        with StopSignals() as signals:
            for groups in signals.interruptible(engine.generate(parts, sampling)):
                save(groups)
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

    def poll(self) -> str | None:
        """Why to stop, e.g. `Stopped by SIGTERM.`, once a signal arrived; None until then. Does not wait."""
        return None if self._received is None else f"Stopped by {self._received}."

    def wait(self, process: "subprocess.Popen[bytes]") -> int:
        """Wait for a child process to end; its exit code. What it writes must go to a file: a process that it leaves
        behind keeps a pipe open.

        Raises:
            Interrupted: a signal came. The process still runs: stopping it is up to the caller.
        """
        return self._interruptibly(process.wait)

    def interruptible(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items of `items`. Only the wait for the next item is interrupted, never what the caller does with it.

        Raises:
            Interrupted: a signal came.
        """
        while True:
            try:
                item = self._interruptibly(lambda: next(items))
            except StopIteration:
                return
            yield item

    def _interruptibly(self, wait: Callable[[], Result]) -> Result:
        try:
            self._waiting = True
            self._raise_if_received()
            return wait()
        except SystemError as error:
            # So Python reports C code (Ray's `wait`) that returns a result although a signal's handler raised.
            if isinstance(error.__cause__, Interrupted):
                raise error.__cause__ from None
            raise
        finally:
            self._waiting = False

    def _receive(self, number: int, _: FrameType | None) -> None:
        self._received = signal.Signals(number).name
        if self._waiting:
            self._waiting = False  # Raise once: the clean-up after the exception must not be interrupted again.
            self._raise_if_received()

    def _raise_if_received(self) -> None:
        reason = self.poll()
        if reason is not None:
            raise Interrupted(reason)
