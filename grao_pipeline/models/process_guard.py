"""Ends the processes of an engine when the process that started them ends, even by `kill -9`.

Without it, vLLM's worker processes would keep running and keep the GPU's memory, so that the command could not be run
again.
"""

import subprocess
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


@contextmanager
def guarded_children() -> Iterator[subprocess.Popen[bytes]]:
    """Mark the processes that are started in the block. Linux only, as vLLM is.

    Yields:
        the guard of these processes; `dismiss` it when they have ended.
    """
    mark = uuid.uuid4().hex
    guard = subprocess.Popen(
        ["sh", "-c", GUARD, "sh", mark], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        with environment({VARIABLE: mark}):
            yield guard
    except BaseException:
        dismiss(guard)
        raise


def dismiss(guard: subprocess.Popen[bytes]) -> None:
    """End a guard; its processes have ended."""
    guard.kill()
    guard.communicate()
