"""Start the process that follows a training or rounds, and let it end after them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from grao_pipeline.children import PARENT_VARIABLE
from grao_pipeline.processes import GRACE_SECONDS
from grao_pipeline.progress import Progress
from grao_pipeline.tracking.options import UNTIL_END_OF_INPUT


@contextmanager
def followed(path: str, trackers: Sequence[str], progress: Progress) -> Iterator[None]:
    """While it is entered, `grao log PATH --follow` runs in another process; the work continues
    whatever becomes of it.

    The end of its standard input tells it to log the rest and to end; so does the death of this process.

    Args:
        progress: is told of a tracker that failed.
    """
    if not trackers:
        yield
        return
    flags = [word for name in trackers for word in ("--to", name)]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "grao_pipeline", "log", path, *flags, "--follow", "--quiet"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, PARENT_VARIABLE: str(os.getpid()), UNTIL_END_OF_INPUT: "1"},
        process_group=0,
    )
    try:
        yield
    finally:
        problem = _end(process)
        if problem:
            progress.warn(
                f"The process of {', '.join(trackers)} {problem}. Nothing is lost: grao log {path} {' '.join(flags)}"
            )


def _end(process: "subprocess.Popen[bytes]") -> str:
    """Let it log the rest and end; what went wrong, if anything."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        code = process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"did not end within {GRACE_SECONDS:g} s"
    return "" if code == 0 else f"ended with code {code}"
