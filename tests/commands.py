"""Commands in processes that start in a moment: forked from one that has imported what they import (`preload.py`).

Such a process is as good as `python -m grao_pipeline …` for what a command does, survives and leaves: it has its own
process ID, streams, environment and return code. Where importing itself is the subject, start an interpreter.
"""

import atexit
import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from grao_pipeline import nursery
from grao_pipeline.rounds.executors import resident

VLLM_MODULES = ["vllm.entrypoints.openai.api_server", "vllm.v1.engine.core", "vllm.v1.worker.cpu_worker"]
"""Imported once where these tests have imported vLLM: it takes ten seconds."""
HARMLESS_THREADS = {"polars-ooc-clea"}
"""Of the process that forks: it waits until something was spilled to disk."""


def forked(function: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """A process that calls a function of a module; it has started."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preload", *(VLLM_MODULES if "vllm" in sys.modules else [])])
    process = context.Process(target=function, args=arguments)
    process.start()
    return process


class Command:
    """`grao …` in another process, with those methods of `subprocess.Popen` that tests need.

    Args:
        arguments: of grao.
        ranks: more than one: as many processes below a launcher, with what torchrun runs.
        environment: of the process.
        place: its working directory; that of the process that forks where it does not matter.

    Example:
        command = Command("score", groups, out, "--reward", "length")
        stdout, stderr = command.communicate()
        assert command.returncode == 0, stderr
    """

    def __init__(
        self,
        *arguments: object,
        ranks: int = 1,
        environment: Mapping[str, str] | None = None,
        place: str | None = None,
    ) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="grao-command-"))
        texts = [str(argument) for argument in arguments]
        given = (texts, ranks, dict(os.environ if environment is None else environment), place, self._directory)
        self._process = forked(_start, *given)
        weakref.finalize(self, _end, self._process, self._directory)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """Wait for the end; standard output and standard error."""
        self.wait()
        return self.written("stdout"), self.written("stderr")

    def wait_for(self, text: str, stream: str = "stderr") -> bool:
        """Wait until a text is in a standard stream; False where it ends without it."""
        while text not in self.written(stream):
            if self.poll() is not None:
                return text in self.written(stream)
            time.sleep(0.005)
        return True

    def wait_for_all(self) -> None:
        """Wait until all that it has started has ended, too: until no process writes to its standard error."""
        self.wait()
        while any(_writes_to(process, self._directory / "stderr") for process in Path("/proc").glob("[0-9]*")):
            time.sleep(0.02)

    def written(self, stream: str) -> str:
        """What is there so far of a standard stream."""
        path = self._directory / stream
        return path.read_text() if path.exists() else ""

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _writes_to(process: Path, file: Path) -> bool:
    with suppress(OSError):  # it has ended meanwhile
        return os.readlink(process / "fd" / "2") == str(file)
    return False


def _end(process: ForkServerProcess, directory: Path) -> None:
    """Leave nothing behind: after a failed test, the interpreter would wait at its end for a command that waits."""
    if process.is_alive():
        process.kill()
        process.join()
    shutil.rmtree(directory, ignore_errors=True)


def write_to(path: Path, *streams: int) -> None:
    """From now on, the standard streams of this process (1, 2) are appended to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in streams:
        os.dup2(file, stream)
    os.close(file)


def _start(arguments: list[str], ranks: int, environment: dict[str, str], place: str | None, directory: Path) -> None:
    """In the new process: be the command, or the launcher of its ranks."""
    threads = [path.read_text().strip() for path in Path(f"/proc/{os.getppid()}/task").glob("*/comm")]
    others = [name for name in threads if name not in HARMLESS_THREADS]
    assert len(others) <= 1, f"The process that forks has threads: {others}"
    write_to(directory / "stdout", 1)
    write_to(directory / "stderr", 2)
    os.environ.clear()
    os.environ.update(environment)
    if place is not None:
        os.chdir(place)
    try:
        if ranks == 1:
            _run(arguments)
        else:
            _launch(arguments, ranks)
    finally:
        atexit._run_exitfuncs()  # as at the end of an interpreter; multiprocessing leaves them out


def _run(arguments: list[str]) -> None:
    if arguments[:2] == ["rounds", "run"]:
        resident.start_nursery = ForkedNursery().begin
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, closefd=False)
    sys.argv = ["grao", *arguments]
    runpy.run_module("grao_pipeline", run_name="__main__", alter_sys=True)


def _launch(arguments: list[str], ranks: int) -> None:
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        start_method="fork",
    )
    elastic_launch(config, _run_rank)(arguments)


def _run_rank(arguments: list[str]) -> None:
    """The launcher waits for a value of each rank that succeeds."""
    try:
        _run(arguments)
    except SystemExit as end:
        if end.code:
            raise


class ForkedNursery:
    """The process from which the workers of resident rounds are forked, forked itself from one that has imported what
    it would import, and has no threads yet.
    """

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self._requests.close()
            _, files, *_ = socket.recv_fds(theirs, 1, 1)
            theirs.close()
            if files:
                _be_nursery(socket.socket(fileno=files[0]))
            os._exit(0)
        theirs.close()

    def begin(self, requests: socket.socket) -> "ForkedNursery":
        """Be asked by way of a socket."""
        socket.send_fds(self._requests, [b"!"], [requests.fileno()])
        self._requests.close()
        return self

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def wait(self) -> None:
        os.waitpid(self._pid, 0)


class NurseryFromHere:
    """The same for rounds in the process of the tests, which has threads."""

    def __init__(self, requests: socket.socket) -> None:
        self._process = forked(_be_nursery, requests)

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        self._process.join()


def _be_nursery(requests: socket.socket) -> None:
    os.setpgid(0, 0)
    nursery.main(requests)
