"""What the machine refuses, wherever in a stage: memory, space, rights, handles. Not a bug of ours, so no traceback."""

import errno
import os
import re
import resource
from pathlib import Path

from grao_pipeline.files import printable

STATUS = Path("/proc/self/status")
REFUSALS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENFILE,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


LEAST_ADDRESS_SPACE = 1280 * 2**20
"""Bytes. With less, Polars and PyArrow do not start, or abort the process, which nobody can catch."""
NEARLY_ALL = 0.8
"""Share of the address space. An allocation that did not fit leaves the rest unused."""


def machine_problem(error: BaseException) -> str | None:
    """What to tell people about an error that the machine, not the library, raised; None where it may be a bug.

    At the end of an address space (`ulimit -v`) libraries fail in any way: half-imported modules, threads that do not
    start, panics.
    """
    refusal = error if isinstance(error, OSError) else _in_panic(error)
    if refusal is not None and refusal.errno in REFUSALS:
        from grao_pipeline.storage.outside_errors import refused

        place = printable(str(refusal.filename)) if refusal.filename is not None else "a file"
        return str(refused("use", place, refusal))
    is_memory = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if is_memory or _address_space_has_ended():
        reason = printable(f"{type(error).__name__}: {error}" if str(error) else "an allocation failed")
        return f"Not enough memory ({reason}). Free some and run the same command again; what is written is reused."
    return None


def _in_panic(error: BaseException) -> OSError | None:
    """What the machine told a library in Rust (Polars) that panicked: `Os { code: 24, kind: TooManyOpenFiles, … }`."""
    code = re.search(r"\bOs \{ code: (\d+),", str(error)) if type(error).__name__ == "PanicException" else None
    return None if code is None else OSError(int(code[1]), os.strerror(int(code[1])))


def small_address_space() -> str | None:
    """What to tell people where the libraries cannot start; None where they can."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit >= LEAST_ADDRESS_SPACE:
        return None
    return (
        f"Not enough memory: the address space is limited to {limit >> 20} MiB (ulimit -v); at least "
        f"{LEAST_ADDRESS_SPACE >> 20} MiB are needed. Raise the limit."
    )


def _address_space_has_ended() -> bool:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or not STATUS.exists():
        return False
    peak = re.search(r"VmPeak:\s+(\d+) kB", STATUS.read_text())
    return peak is not None and int(peak[1]) * 1024 > NEARLY_ALL * limit
