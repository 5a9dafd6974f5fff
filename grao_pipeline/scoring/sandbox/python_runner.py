"""Runs a completion's Python code and its tests in a sandboxed process; reports what passed and why the rest failed.

| limited | how |
|---|---|
| CPU time, file size, open files; memory (Linux) | `setrlimit` |
| wall-clock time | the whole process group is killed |
| network | an audit hook refuses sockets; also a network namespace without interfaces, if the kernel allows it |
| processes, threads | an audit hook refuses them; also RLIMIT_NPROC = 0, which does not bind root |
| files | an audit hook allows an empty directory that is removed afterwards, and Python's library for reading |
| environment | five variables, none of them the caller's: no keys, no tokens |
| packages | only the standard library, so that a verdict is the same everywhere |
| output | discarded |

This protects from accidents, not from attackers. Code that searches the interpreter's frames finds the nonce, can forge
reports and can disable the hook; an object whose `__eq__` is always true passes `assert f(x) == y`. Do not run
completions of a model that may be hostile outside a container or a virtual machine.
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
    """Limits of a run."""

    seconds: int = 5
    """CPU time of the code and all its tests together; the wall-clock limit is three times that plus 5 s to start."""
    memory_mib: int = 512


@dataclass(frozen=True)
class SuiteRun:
    """The result of a run.

    Example: `SuiteRun(passed=(True, False), problem="AssertionError: assert f(2) == 4", failed_at=1)`
    """

    passed: tuple[bool, ...]
    """Per test."""
    problem: str | None = None
    """The first failure; None if everything passed."""
    failed_at: int | None = None
    """The test that failed first; None if it was the code or the sandbox."""
    started: bool = True
    """False if the sandbox could not be set up, so that the code was not judged."""


def run_tests(code: str, tests: Sequence[str], limits: Limits) -> SuiteRun:
    """Run `code`, then every test in its module, until one of them ends the process.

    Args:
        tests: Python sources; a test passes if it runs to its end without an exception.

    Raises:
        StageFailure: the system cannot start a process.
    """
    nonce = secrets.token_hex(16)
    job = {"nonce": nonce, "code": code, "tests": list(tests), "seconds": limits.seconds}
    job |= {"memory_mib": limits.memory_mib, "file_mib": FILE_MIB}
    with tempfile.TemporaryDirectory(prefix="grao-python-tests-", ignore_cleanup_errors=True) as directory:
        output, ending = _run(json.dumps(job).encode(), directory, limits)
    lines = output.split(b"\n")[:-1]
    reports = [json.loads(line[len(nonce) :]) for line in lines if line.startswith(nonce.encode())]
    if not reports:
        return SuiteRun((False,) * len(tests), f"the sandbox did not start ({ending})", started=False)
    test_reports = [report for report in reports if "test" in report]
    passed = {report["test"] for report in test_reports if report["failed"] is None}
    failed = next((report for report in reports if report.get("failed") is not None), None)
    if failed is None and len(test_reports) < len(tests):  # the process ended before its last report
        code_ran = any("code" in report for report in reports)
        failed = {"failed": ending, "test": len(test_reports)} if code_ran else {"failed": ending}
    return SuiteRun(
        tuple(index in passed for index in range(len(tests))),
        failed["failed"] if failed else None,
        failed.get("test") if failed else None,
    )


def _run(job: bytes, directory: str, limits: Limits) -> tuple[bytes, str]:
    """(the harness's output, how its process ended)."""
    environment = {
        "PATH": os.defpath,
        "HOME": directory,
        "TMPDIR": directory,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",  # the order of a set must not decide a reward
    }
    with tempfile.TemporaryFile() as job_file:  # nameless, so that the code cannot find it
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
            raise StageFailure(f"The system cannot start a process for the tests of a completion: {error}.") from error
    with process:
        try:
            output, in_time = _read(process, WALL_CLOCK_FACTOR * limits.seconds + WALL_CLOCK_STARTUP)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return output, _ending(process.returncode, in_time, limits)


def _read(process: "subprocess.Popen[bytes]", seconds: float) -> tuple[bytes, bool]:
    """(the output of the process until it ended or its time was over, whether it ended in time)."""
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
        names = (known.name for known in signal.Signals if known == -returncode)
        return f"the process was ended by {next(names, f'signal {-returncode}')}"
    return f"the process ended early, with exit code {returncode}"
