"""A stop signal is `Interrupted` in whatever is being waited for, and nowhere else."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from grao_pipeline.errors import Interrupted
from grao_pipeline.processes import StopSignals


def test_poll_says_which_signal_came_and_does_not_raise() -> None:
    with StopSignals() as signals:
        assert signals.poll() is None
        signal.raise_signal(signal.SIGTERM)
        assert signals.poll() == signals.poll() == "Stopped by SIGTERM."
        with pytest.raises(Interrupted, match=r"^Stopped by SIGTERM\.$"):
            next(signals.interruptible(iter([1])))


def child(code: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


def test_wait_returns_the_exit_code() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with StopSignals() as signals:
        assert signals.wait(process) == 3


@pytest.mark.slow
def test_a_signal_ends_the_wait_for_a_child_which_still_runs() -> None:
    process = child("print('started', flush=True); import time; time.sleep(600)")
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    with StopSignals() as signals:
        timer.start()
        with pytest.raises(Interrupted, match=r"^Stopped by SIGTERM\.$"):
            signals.wait(process)
        assert process.poll() is None
        process.kill()
        process.communicate()  # a caller's clean-up is not interrupted again
    timer.join()


def test_a_signal_that_came_earlier_ends_the_wait_at_once() -> None:
    process = child("import time; time.sleep(600)")
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted, match=r"^Stopped by SIGINT\.$"):
            signals.wait(process)
        process.kill()
        process.communicate()


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


def test_any_other_system_error_is_passed_on() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise SystemError("bad argument to internal function")

    with StopSignals() as signals, pytest.raises(SystemError, match="bad argument"):
        list(signals.interruptible(items()))
