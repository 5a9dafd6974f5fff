"""Calls of a function that may never end: in worker processes, with limits on the time and memory of every call."""

import json
import os
import queue
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from grao_pipeline.scoring.sandbox import call_server

WorkerProcess = subprocess.Popen[bytes]


@dataclass(frozen=True)
class CallFailed:
    """A call that returned no value, e.g. `CallFailed("no result within 5 s")`."""

    reason: str


class LimitedCalls:
    """Calls `module:function` (keyword arguments and value are JSON) in `num_workers` processes.

    The kernel ends a worker whose call exceeds its time, even inside C code that no Python signal handler or thread
    could interrupt (`9**9**9`); the next call gets a new worker. It works in any thread. Workers end with `close`, with
    this object, or with this process.

    Args:
        seconds: CPU time of one call, so that a busy machine does not change any outcome. The limit on wall-clock time
            is four times as long.
        memory_mib: address space of a worker; enforced on Linux.

    Example: `LimitedCalls("math:factorial", 2, 5.0, 1024).map([{"n": 5}])`
    """

    def __init__(self, target: str, num_workers: int, seconds: float, memory_mib: int) -> None:
        self._command = [sys.executable, "-m", call_server.__name__, target, str(seconds), str(memory_mib)]
        self._seconds = seconds
        self._num_workers = num_workers
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        weakref.finalize(self, _end_workers, self._idle)

    def map(self, requests: Iterable[Mapping[str, object]]) -> Iterator[Any]:
        """The value of each call, or a `CallFailed`, in the order of the requests."""
        with ThreadPoolExecutor(self._num_workers) as threads:
            yield from threads.map(self._call, requests)

    def close(self) -> None:
        """End the workers."""
        _end_workers(self._idle)

    def _call(self, request: Mapping[str, object]) -> Any:
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            worker = self._start()
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(json.dumps(request).encode() + b"\n")
            worker.stdin.flush()
        except BrokenPipeError:
            return self._failure(worker)
        line = worker.stdout.readline()
        if not line.endswith(b"\n"):
            return self._failure(worker)
        self._idle.put(worker)
        answer = json.loads(line)
        return answer["value"] if "value" in answer else CallFailed(answer["error"])

    def _start(self) -> WorkerProcess:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            start_new_session=True,  # Ctrl-C reaches only this process; a worker ends when its standard input does
        )

    def _failure(self, worker: WorkerProcess) -> CallFailed:
        """Why the worker ended."""
        code = _wait(worker)
        if code in (-signal.SIGPROF, -signal.SIGALRM):
            return CallFailed(f"no result within {self._seconds:g} s")
        return CallFailed(f"the worker process ended with exit code {code}")


def _wait(worker: WorkerProcess) -> int:
    """Close the worker's pipes, which ends it; returns its exit code."""
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue
    return worker.wait()


def _end_workers(idle: "queue.SimpleQueue[WorkerProcess]") -> None:
    while not idle.empty():
        _wait(idle.get_nowait())
