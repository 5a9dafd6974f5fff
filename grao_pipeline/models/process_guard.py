"""Ends the processes of an engine when the process that started them ends, even by `kill -9`.

Without it, vLLM's worker processes would keep running and keep the GPU's memory, so that the command could not be run
again.
"""

import ctypes
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from grao_pipeline.environment import environment

VARIABLE = "GRAO_ENGINE_GUARD"
# Waits until the pipe on its standard input closes, which happens however this process ends. It then ends the processes
# that were started with the mark in their environment, wherever in the process tree they are by then.
GUARD = f"""
read -r line
marked() {{ grep -lzsx "{VARIABLE}=$1" /proc/[0-9]*/environ | cut -d/ -f3; }}
kill -TERM $(marked "$1") 2> /dev/null
for _ in 1 2 3 4 5 6; do [ -z "$(marked "$1")" ] && exit; sleep 0.5; done
kill -KILL $(marked "$1") 2> /dev/null
"""

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: the signal that a process gets when the thread that forked it ends."""


class Forks:
    """What processes do that are forked in a block of `guarded_children`. vLLM forks its engines on a GPU: they have
    no mark, since /proc knows the environment of a process as it was when its program started.
    """

    def __init__(self) -> None:
        self.guard: subprocess.Popen[bytes] | None = None
        self._is_in_main_thread = False
        os.register_at_fork(before=self._before, after_in_child=self._in_child)

    def _before(self) -> None:
        self._is_in_main_thread = threading.current_thread() is threading.main_thread()

    def _in_child(self) -> None:
        if self.guard is None or self.guard.stdin is None:
            return
        self.guard.stdin.close()  # or the guard would wait for this process, too
        if self._is_in_main_thread:  # another one may end before its process does
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


FORKS = Forks()
"""Of this process; those that are forked in a block do the same with theirs."""


@contextmanager
def guarded_children() -> Iterator[subprocess.Popen[bytes]]:
    """The processes that are started or forked in the block end with this one. Linux only, as vLLM is.

    Yields:
        the guard of these processes; `dismiss` it when they have ended.
    """
    mark = uuid.uuid4().hex
    guard = subprocess.Popen(
        ["sh", "-c", GUARD, "sh", mark], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    FORKS.guard = guard
    try:
        with environment({VARIABLE: mark}):
            yield guard
    except BaseException:
        dismiss(guard)
        raise
    finally:
        FORKS.guard = None


def dismiss(guard: subprocess.Popen[bytes]) -> None:
    """End a guard; its processes have ended."""
    guard.kill()
    guard.communicate()
