"""Child processes that run a stage: start one, stop it, and end when its parent ends."""

import atexit
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from grao_pipeline.processes import GRACE_SECONDS

PARENT_VARIABLE = "GRAO_PARENT_PID"
"""Environment variable that a parent sets for its children: a stage whose parent died stops, too."""
RESUME = "What was finished is kept: run the same command to resume."
"""After what became of a child."""
POLL_SECONDS = 0.2
STANDARD_ERROR = 2
WATCH = "grao-parent-watch"
"""Name of the thread that watches; a process has one, however many commands it runs."""


def start_child(
    arguments: Sequence[str],
    stdout: int,
    stderr: int | None = None,
    environment: Mapping[str, str] | None = None,
    module: str = "grao_pipeline",
    files: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Start `grao ARGUMENTS`. It stops when this process dies; a Ctrl-C in the terminal reaches this process alone.

    `-P` keeps the working directory out of the child's path: a user's own folder cannot shadow a package.

    Args:
        environment: variables next to those of this process.
        module: another program of this package.
        files: open files that it gets, under the same numbers.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, **(environment or {}), PARENT_VARIABLE: str(os.getpid())},
        pass_fds=files,
        process_group=0,
    )


def how_it_ended(which: str, exit_code: int) -> str:
    """A sentence on a child process that failed."""
    if exit_code < 0:
        return f"{which} was ended by {signal.Signals(-exit_code).name}: out of memory, or by hand."
    return f"{which} failed (exit code {exit_code}); what it printed is above."


def stop_child(process: "subprocess.Popen[bytes]") -> None:
    """Ask once, wait, then insist."""
    process.terminate()
    try:
        process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def is_child() -> bool:
    """Whether another command of ours started this process."""
    return PARENT_VARIABLE in os.environ


def stop_with_parent() -> None:
    """In a child: end when the parent ends (also by `kill -9`), as on SIGTERM, so that finished work is kept; after a
    while by force."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None or any(thread.name == WATCH for thread in threading.enumerate()):
        return
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            if os.getppid() != int(parent):
                _say("The process that started this one is gone; stopping.")
                os.kill(os.getpid(), signal.SIGTERM)
                stop.wait(GRACE_SECONDS)
                os._exit(1)

    thread = threading.Thread(target=watch, name=WATCH, daemon=True)
    thread.start()

    def end() -> None:
        """A daemon thread that wakes while the interpreter shuts down can abort the process."""
        stop.set()
        thread.join()

    atexit.register(end)


def _say(message: str) -> None:
    """One line on standard error, unless nobody can read it: what ended the parent may have closed the terminal, or
    stopped the reader of a pipe. `sys.stderr` would raise, or wait for what another thread waits to write."""
    with suppress(OSError, ValueError):
        if select.select([], [STANDARD_ERROR], [], 0)[1]:
            os.write(STANDARD_ERROR, f"{message}\n".encode())
