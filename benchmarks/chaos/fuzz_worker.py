"""A process that runs commands on malformed inputs one after another, watched from outside for time and memory."""

import contextlib
import io
import os
import random
import re
import resource
import shutil
import time
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.chaos.fuzz_run import Run
from benchmarks.chaos.place import ENVIRONMENT, Place
from benchmarks.chaos.trial import Trial
from tests.commands import forked

CPU_SECONDS = 5.0
"""Of the worker, after which an input counts as one that hangs. Its wall time depends on what else the machine does."""
WALL_SECONDS = 90.0
MEMORY = 2 * 2**30
"""Bytes of address space that an input may add to the libraries'."""
LONGEST_MESSAGE = 4_000
"""Characters; a message that repeats its input has no end."""


class Worker:
    """Runs trials in another process, and starts a new one after one that hung or crashed."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._start()

    def trial(self, area: str, seed: str) -> Trial:
        """Run one input. The same area and seed are the same input."""
        self._connection.send((area, seed))
        started, cpu = time.monotonic(), self._cpu_seconds()
        while not self._connection.poll(0.2):
            if self._process.exitcode is not None:
                return self._restarted(Trial(area, "CRASH", f"seed {seed}: exit code {self._process.exitcode}"))
            if self._cpu_seconds() - cpu > CPU_SECONDS or time.monotonic() - started > WALL_SECONDS:
                return self._restarted(Trial(area, "HANG", f"seed {seed}"))
        try:
            what, outcome, detail = self._connection.recv()
        except EOFError:
            return self._restarted(Trial(area, "CRASH", f"seed {seed}"))
        return Trial(what, outcome, f"{area} seed {seed}: {detail}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        self._connection, other = Pipe()
        self._process = forked(_serve, other, self._place)
        other.close()
        self._connection.recv()  # it has imported its libraries

    def _restarted(self, trial: Trial) -> Trial:
        self.close()
        self._start()
        return trial

    def _cpu_seconds(self) -> float:
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _serve(connection: Connection, place: Place) -> None:
    """In the other process: run what comes, until the connection ends."""
    os.environ.update({**ENVIRONMENT, "GRAO_CACHE": str(place.root / "cache-of-fuzz")})
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    from benchmarks.chaos import fuzz_areas
    from grao_pipeline.cli.main import main

    fuzz_areas.warm_up(main, place)
    _limit_memory()
    connection.send("ready")
    directory = place.root / f"fuzz-{os.getpid()}"
    while True:
        area, seed = connection.recv()
        directory.mkdir()
        os.chdir(directory)
        try:
            run = fuzz_areas.AREAS[area][0](place, directory, random.Random(f"{area} {seed}"))
            connection.send(_outcome(main, run))
        except Exception as error:  # a fault of ours, not of the command
            connection.send((area, "BROKEN", repr(error)))
        os.chdir(place.root)
        shutil.rmtree(directory, ignore_errors=True)


def _outcome(main: Callable[..., object], run: Run) -> tuple[str, str, str]:
    """(what, outcome, detail) of one command."""
    import click

    from grao_pipeline.errors import GraoError

    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            if run.instead is None:
                main([str(argument) for argument in run.arguments], prog_name="grao", standalone_mode=False)
            else:
                run.instead()
    except GraoError as error:
        return run.what, "refused", str(error)[:300]
    except click.ClickException as error:
        message = error.format_message()
        if re.match("(Not enough|Too little) memory", message):
            return run.what, "MEMORY", message[:300]
        if not message.strip() or len(message) > LONGEST_MESSAGE:
            return run.what, "MESSAGE", f"{len(message)} characters: {message[:300]}"
        return run.what, "refused", message[:300]
    except (click.exceptions.Exit, SystemExit) as error:
        return run.what, "refused", repr(error)
    except Exception as error:  # what a user would see as a traceback
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "grao_pipeline" in frame.filename]
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        return run.what, "TRACEBACK", f"{type(error).__name__}: {str(error)[:200]} at {place}; {run.arguments}"
    problem = run.check()
    return run.what, "SILENT" if problem else "read", f"{problem}; {run.arguments}"


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
