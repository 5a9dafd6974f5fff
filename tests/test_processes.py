"""A stop signal is `Interrupted`, whatever it comes through."""

import signal
import time
from collections.abc import Iterator

import pytest

from grao_pipeline.errors import Interrupted
from grao_pipeline.processes import StopSignals


def test_a_signal_that_c_code_turns_into_a_system_error_is_still_an_interruption() -> None:
    """What CPython makes of a C function that returns a result with an exception set, as Ray's `wait` does."""

    def items() -> Iterator[int]:
        yield 1
        try:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(60)
        except Interrupted as error:
            raise SystemError("<cyfunction> returned a result with an exception set") from error

    with StopSignals() as signals, pytest.raises(Interrupted, match=r"^Stopped by SIGTERM\.$"):
        list(signals.interruptible(items()))


def test_a_system_error_of_its_own_is_none() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise SystemError("bad argument to internal function")

    with StopSignals() as signals, pytest.raises(SystemError, match="bad argument"):
        list(signals.interruptible(items()))
