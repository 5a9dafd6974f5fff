"""Runs a completion's Python code and its tests in sandboxed processes; reports what passed and why the rest failed.

The code runs in one process, its tests in another: expected values and comparisons never enter the first one, whose
answers count as plain values alone (`wire`). Tests that look into the process of the code (`splitting`) run in it.

| limited | how |
|---|---|
| CPU time, file size, open files; memory (Linux) | `setrlimit` |
| wall-clock time | the whole process group is killed |
| network | an audit hook, a filter of system calls, a network namespace without interfaces |
| processes, threads | an audit hook, a filter of system calls, RLIMIT_NPROC = 0 |
| other processes: signals, priority, affinity, limits | a filter of system calls; root becomes nobody |
| files | an audit hook and Landlock allow an empty directory (removed afterwards), and Python's library for reading |
| environment | five variables, none of them the caller's: no keys, no tokens |
| packages | only the standard library, so that a verdict is the same everywhere |
| output | discarded |

The filter and Landlock are Linux's, and each is used where the kernel has it. Where they are missing, the audit hook is
the only fence, and no protection from code that was written to break out of a Python process. `launchers` puts a real
wall around the process of the code.
"""

import json
import os
import secrets
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, Any

from grao_pipeline.errors import StageFailure
from grao_pipeline.scoring.sandbox.launchers import PROCESS, PROGRAM, PYTHON, Launcher
from grao_pipeline.scoring.sandbox.splitting import same_process_reason, used_names

COMPLETION_ENDED = 77
"""Exit code of the tests' process where the completion's has ended."""
FILE_MIB = 16
WALL_CLOCK_FACTOR = 3
WALL_CLOCK_STARTUP = 5.0
MOST_REPORT_BYTES = 16 << 20
LONGEST_COMPLAINT = 300


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
    same_process: str | None = None
    """Why the tests ran in the process of the code, which can forge their verdict; None where they did not."""


def run_tests(code: str, tests: Sequence[str], limits: Limits, launcher: Launcher = PROCESS) -> SuiteRun:
    """Run `code`, then every test with its names, until one of them ends the process.

    Args:
        tests: Python sources; a test passes if it runs to its end without an exception.
        launcher: starts the process of the code.

    Raises:
        StageFailure: the system cannot start a process.
    """
    reason = same_process_reason(tests)
    if reason is None:
        run = _Run(code, tests, limits, launcher, together=False).result()
        if run is not None:
            return run
        reason = "a value that cannot be copied"
    run = _Run(code, tests, limits, launcher, together=True).result()
    assert run is not None
    return replace(run, same_process=reason)


class _Run:
    """One run of a completion.

    Args:
        together: the tests run in the process of the code.
    """

    def __init__(self, code: str, tests: Sequence[str], limits: Limits, launcher: Launcher, together: bool) -> None:
        self._tests = list(tests)
        self._limits = limits
        self._launcher = launcher
        self._together = together
        self._nonce = secrets.token_hex(16)
        self._job: dict[str, object] = {
            "nonce": self._nonce,
            "code": code,
            "together": self._tests if together else None,
        }
        self._job |= {"seconds": limits.seconds, "memory_mib": limits.memory_mib, "file_mib": FILE_MIB}

    def result(self) -> SuiteRun | None:
        """The verdicts; None where a value of the tests cannot be passed to another process."""
        with (
            tempfile.TemporaryDirectory(prefix="grao-python-tests-", ignore_cleanup_errors=True) as directory,
            tempfile.TemporaryFile() as job,  # nameless, so that the code cannot find it
            tempfile.TemporaryFile() as complaints,
        ):
            output, ending = self._run(directory, job, complaints)
            reports = self._reports(output)
            if not reports:
                complaints.seek(0)
                said = complaints.read()[-LONGEST_COMPLAINT:].decode("utf-8", "replace").strip().replace("\n", " ")
                reason = f"{ending}: {said}" if said else ending
                problem = f"the sandbox ({self._launcher.name}) did not start ({reason})"
                return SuiteRun((False,) * len(self._tests), problem, started=False)
        return None if any("unsendable" in report for report in reports) else self._read(reports, ending)

    def _reports(self, output: bytes) -> list[dict[str, Any]]:
        """The reports: of the tests' process all lines, of the code's those with the nonce."""
        reports = []
        for line in output.split(b"\n")[:-1]:
            with suppress(ValueError, RecursionError):
                report = json.loads(line)
                if isinstance(report, dict) and (not self._together or report.get("nonce") == self._nonce):
                    reports.append(report)
        return reports

    def _read(self, reports: list[dict[str, Any]], ending: str) -> SuiteRun:
        test_reports = [report for report in reports if "test" in report]
        passed = {report["test"] for report in test_reports if report["failed"] is None}
        failed = next((report for report in reports if report.get("failed") is not None), None)
        if failed is None and len(test_reports) < len(self._tests):  # a process ended before its last report
            code_ran = any("code" in report for report in reports)
            failed = {"failed": ending, "test": len(test_reports)} if code_ran else {"failed": ending}
        return SuiteRun(
            tuple(index in passed for index in range(len(self._tests))),
            failed["failed"] if failed else None,
            failed.get("test") if failed else None,
        )

    def _run(self, directory: str, job: IO[bytes], complaints: IO[bytes]) -> tuple[bytes, str]:
        """(the reports, how the processes ended)."""
        processes: list[subprocess.Popen[bytes]] = []
        try:
            start = self._start_together if self._together else self._start_apart
            start(processes, directory, job, complaints)
            output, in_time = _read(processes[-1], self._wall_clock)
        finally:
            for process in processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
            self._launcher.clean_up(directory)
        code, reporting = processes[0], processes[-1]
        if reporting is code or reporting.returncode == COMPLETION_ENDED:
            return output, self._ending(self._launcher.returncode(code.returncode), in_time)
        return output, self._ending(reporting.returncode, in_time)

    def _start_together(
        self, processes: list["subprocess.Popen[bytes]"], directory: str, job: IO[bytes], complaints: IO[bytes]
    ) -> None:
        job.write(json.dumps(self._job).encode() + b"\n")
        job.seek(0)
        processes.append(_started(self._launcher.command(directory), directory, job, subprocess.PIPE, complaints))

    def _start_apart(
        self, processes: list["subprocess.Popen[bytes]"], directory: str, job: IO[bytes], complaints: IO[bytes]
    ) -> None:
        """Two processes; each has the other's end of two pipes."""
        value = {"completion": self._job, "tests": self._tests, "names": used_names(self._tests)}
        job.write(json.dumps(value).encode())
        job.seek(0)
        (requests_in, requests_out), (answers_in, answers_out) = os.pipe(), os.pipe()
        try:
            command = self._launcher.command(directory)
            processes.append(_started(command, directory, requests_in, answers_out, complaints))
            command = [*PYTHON, str(PROGRAM), "tests", str(answers_in), str(requests_out)]
            pipes = (answers_in, requests_out)
            processes.append(_started(command, directory, job, subprocess.PIPE, complaints, pipes))
        finally:
            for descriptor in (requests_in, requests_out, answers_in, answers_out):
                os.close(descriptor)

    @property
    def _wall_clock(self) -> float:
        return WALL_CLOCK_FACTOR * self._limits.seconds + WALL_CLOCK_STARTUP

    def _ending(self, returncode: int, in_time: bool) -> str:
        if not in_time:
            return f"no end within {self._wall_clock:g} s"
        if returncode == -signal.SIGXCPU:
            return f"more than {self._limits.seconds} s of CPU time"
        if returncode < 0:
            names = (known.name for known in signal.Signals if known == -returncode)
            return f"the process was ended by {next(names, f'signal {-returncode}')}"
        return f"the process ended early, with exit code {returncode}"


def _started(
    command: list[str],
    directory: str,
    source: IO[bytes] | int,
    sink: int,
    complaints: IO[bytes],
    pipes: tuple[int, ...] = (),
) -> "subprocess.Popen[bytes]":
    environment = {
        "PATH": os.defpath,
        "HOME": directory,
        "TMPDIR": directory,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",  # the order of a set must not decide a reward
    }
    try:
        return subprocess.Popen(
            command,
            stdin=source,
            stdout=sink,
            stderr=complaints,
            cwd=directory,
            env=environment,
            start_new_session=True,
            pass_fds=pipes,
        )
    except OSError as error:
        raise StageFailure(f"The system cannot start a process for the tests of a completion: {error}.") from error


def _read(process: "subprocess.Popen[bytes]", seconds: float) -> tuple[bytes, bool]:
    """(the output of the process until it ended or its time was over, whether it ended in time)."""
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(output) < MOST_REPORT_BYTES:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return bytes(output), False
            block = os.read(process.stdout.fileno(), 1 << 16)
            if not block:
                break
            output += block
    return bytes(output), True
