"""Standard output is for summaries alone: everything else that is printed goes to standard error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2


@contextmanager
def standard_output_to_error() -> Iterator[None]:
    """What is printed meanwhile, also by C code and by other processes, goes to standard error."""
    sys.stdout.flush()
    try:
        saved = os.dup(STANDARD_OUTPUT)
        os.dup2(STANDARD_ERROR, STANDARD_OUTPUT)
    except OSError:  # one of them is closed
        with redirect_stdout(sys.stderr):
            yield
        return
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush()
        os.dup2(saved, STANDARD_OUTPUT)
        os.close(saved)


def _flush() -> None:
    """Write out what Python and C keep of standard output."""
    import ctypes

    for stream in (sys.__stdout__, sys.stdout):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).fflush(None)
