"""Remember the last lines that an engine's processes print on standard error, to say why one of them ended."""

import os
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

NUM_LINES = 1000
ERROR_LINE = re.compile(r"(?:^|[\s\]])(?:[a-z_]\w*\.)*([A-Z]\w*(?:Error|Exception)): (.+)$")
"""The last line of a traceback, also after the prefix of a log."""
UNTELLING = re.compile(r"EngineDeadError|Engine core initialization failed|cancelled|See (?:the )?root cause|leaked")
_lines: deque[str] = deque(maxlen=NUM_LINES)


@contextmanager
def stderr_remembered() -> Iterator[None]:
    """Copy what processes that are started in this block print on standard error, as long as they live.

    It is printed as before. What this process prints within the block is copied as well.
    """
    _lines.clear()
    read, write = os.pipe()
    before = os.dup(2)
    os.dup2(write, 2)
    os.close(write)
    threading.Thread(target=_copy, args=(read, before), name="grao-stderr-tail", daemon=True).start()
    try:
        yield
    finally:
        os.dup2(before, 2)


def last_error() -> str | None:
    """The newest error that the processes printed, e.g. `ValueError: LoRA rank 32 is greater than …`."""
    for line in reversed(list(_lines)):
        match = ERROR_LINE.search(line)
        if match and not UNTELLING.search(line):
            return f"{match[1]}: {match[2].strip()}"
    return None


def _copy(read: int, target: int) -> None:
    """Copy until the last process has closed its end."""
    rest = b""
    with os.fdopen(read, "rb", buffering=0) as source:
        while chunk := source.read(1 << 16):
            os.write(target, chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            _lines.extend(line.decode("utf-8", "replace") for line in lines)
    os.close(target)
