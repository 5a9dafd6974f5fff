"""Hold back signal handlers while an event loop runs."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def signals_held(loop: asyncio.AbstractEventLoop) -> Iterator["asyncio.Future[Any]"]:
    """Call the handlers of SIGINT and SIGTERM after the block instead of inside it. An exception that a handler raises
    inside a running loop is lost in the callback that it interrupts, or breaks the loop.

    Yields:
        a future that the first signal completes.
    """
    signal_came: asyncio.Future[Any] = loop.create_future()
    held: list[int] = []

    def hold(received: int, _: FrameType | None) -> None:
        held.append(received)
        loop.call_soon_threadsafe(complete)

    def complete() -> None:
        if not signal_came.done():
            signal_came.set_result(None)

    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # Python delivers signals to no other thread
        current = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        handlers = {number: handler for number, handler in current.items() if callable(handler)}
    try:
        for number in handlers:
            signal.signal(number, hold)
        yield signal_came
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for received in held:
        signal.raise_signal(received)
