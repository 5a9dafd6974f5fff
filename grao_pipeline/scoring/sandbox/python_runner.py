"""A completion's Python code and its tests, run in a process of its own: what passed, and why not what did not.

| what is held | how |
|---|---|
| CPU time, file size, open files; memory (Linux) | `setrlimit` |
| wall-clock time | the whole process group is killed |
| network | an audit hook refuses sockets; and, where the kernel grants one, a network namespace without interfaces |
| processes, threads | an audit hook refuses them; and, unless root runs it, RLIMIT_NPROC = 0 |
| files | an audit hook: an empty directory that is removed afterwards; Python's own library, to read |
| environment | five variables, none of the caller's: no keys, no tokens |
| packages | the standard library alone, so that a verdict is the same everywhere |
| output | goes nowhere |

This is isolation against accidents, not against attackers. Code that searches the interpreter's frames finds the nonce
and can forge reports, and can undo what the hook rests on; an object whose `__eq__` is always true passes
`assert f(x) == y`. Do not run completions of a model that may be hostile outside a container or a virtual machine.
"""

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from grao_pipeline.errors import StageFailure

HARNESS = Path(__file__).with_name("harness.py")
FILE_MIB = 16
WALL_CLOCK_FACTOR = 3
WALL_CLOCK_STARTUP = 5.0
MOST_REPORT_BYTES = 16 << 20


@dataclass(frozen=True)
class Limits:
    """What a run may take."""

    seconds: int = 5
    """CPU time, of the code and all its tests together. In wall-clock time three times that, and 5 s to start."""
    memory_mib: int = 512


@dataclass(frozen=True)
class SuiteRun:
    """What came of a run.

    Example: `SuiteRun(passed=(True, False), problem="AssertionError: assert f(2) == 4", failed_at=1)`
    """

    passed: tuple[bool, ...]
    """Of each test."""
    problem: str | None = None
    """The first thing that went wrong; None where everything passed."""
    failed_at: int | None = None
    """The test that it went wrong in; None where that was the code itself, or the sandbox."""
    started: bool = True
    """False where the sandbox itself could not be set up, so that the code was not judged."""


def run_tests(code: str, tests: Sequence[str], limits: Limits) -> SuiteRun:
    """Run `code`, then each test in its module, one after another until one of them ends the process.

    Args:
        tests: Python sources; a test passes where it runs to its end without an exception.

    Raises:
        StageFailure: the system starts no process.
    """
    nonce = secrets.token_hex(16)
    job = {"nonce": nonce, "code": code, "tests": list(tests), "seconds": limits.seconds}
    job |= {"memory_mib": limits.memory_mib, "file_mib": FILE_MIB}
    with tempfile.TemporaryDirectory(prefix="grao-python-tests-", ignore_cleanup_errors=True) as directory:
        output, ending = _run(json.dumps(job).encode(), directory, limits)
    lines = output.split(b"\n")[:-1]
    reports = [json.loads(line[len(nonce) :]) for line in lines if line.startswith(nonce.encode())]
    nothing = (False,) * len(tests)
    if not reports:
        return SuiteRun(nothing, f"the sandbox did not start ({ending})", started=False)
    of_tests = [report for report in reports if "test" in report]
    passed = {report["test"] for report in of_tests if report["failed"] is None}
    failed = next((report for report in reports if report.get("failed") is not None), None)
    if failed is None and len(of_tests) < len(tests):  # it ended before its last report
        begun = any("code" in report for report in reports)
        failed = {"failed": ending, "test": len(of_tests)} if begun else {"failed": ending}
    return SuiteRun(
        tuple(index in passed for index in range(len(tests))),
        failed["failed"] if failed else None,
        failed.get("test") if failed else None,
    )


def _run(job: bytes, directory: str, limits: Limits) -> tuple[bytes, str]:
    """(what the harness reported, how its process ended)."""
    environment = {
        "PATH": os.defpath,
        "HOME": directory,
        "TMPDIR": directory,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",  # the order of a set must not decide a reward
    }
    with tempfile.TemporaryFile() as job_file:  # not a file that the code could find, as one in its directory
        job_file.write(job)
        job_file.seek(0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-S", "-B", "-W", "ignore", str(HARNESS)],
                stdin=job_file,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=directory,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise StageFailure(f"The system starts no process for the tests of a completion: {error}.") from error
    with process:
        try:
            output, in_time = _read(process, WALL_CLOCK_FACTOR * limits.seconds + WALL_CLOCK_STARTUP)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return output, _ending(process.returncode, in_time, limits)


def _read(process: "subprocess.Popen[bytes]", seconds: float) -> tuple[bytes, bool]:
    """(what the process wrote before it ended or its time was over, whether it ended in time)."""
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(output) < MOST_REPORT_BYTES:
            if not selector.select(deadline - time.monotonic()):
                return bytes(output), False
            block = os.read(process.stdout.fileno(), 1 << 16)
            if not block:
                break
            output += block
    return bytes(output), True


def _ending(returncode: int, in_time: bool, limits: Limits) -> str:
    if not in_time:
        return f"no end within {WALL_CLOCK_FACTOR * limits.seconds + WALL_CLOCK_STARTUP:g} s"
    if returncode == -signal.SIGXCPU:
        return f"more than {limits.seconds} s of CPU time"
    if returncode < 0:
        named = (known.name for known in signal.Signals if known == -returncode)
        return f"the process was ended by {next(named, f'signal {-returncode}')}"
    return f"the process ended early, with exit code {returncode}"
