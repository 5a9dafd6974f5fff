"""Calls of a function of ours that may take for ever: in worker processes, each call bounded in time and memory."""

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

Worker = subprocess.Popen[bytes]


@dataclass(frozen=True)
class CallFailed:
    """A call without a value, e.g. `CallFailed("not decided within 5 s")`."""

    reason: str


class LimitedCalls:
    """Calls `module:function` (keyword arguments and value are JSON) in `num_workers` processes.

    The kernel ends a worker whose call exceeds its time, also inside C code that no Python signal handler or thread
    could interrupt (`9**9**9`); the next call gets a new worker. It works in any thread. Workers end with this object,
    or when this process does.

    Args:
        seconds: CPU time of one call, so that a busy machine changes no outcome; four times that in wall-clock time.
        memory_mib: address space of a worker. Enforced on Linux.

    Example: `LimitedCalls("math:factorial", 2, 5.0, 1024).map([{"n": 5}])`
    """

    def __init__(self, target: str, num_workers: int, seconds: float, memory_mib: int) -> None:
        self._command = [sys.executable, "-m", call_server.__name__, target, str(seconds), str(memory_mib)]
        self._seconds = seconds
        self._num_workers = num_workers
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        weakref.finalize(self, _end, self._idle)

    def map(self, requests: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
        """The value of each call, or a `CallFailed`, in the order of the requests."""
        with ThreadPoolExecutor(self._num_workers) as threads:
            yield from threads.map(self._call, requests)

    def _call(self, request: Mapping[str, Any]) -> Any:
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
            return self._ended(worker)
        line = worker.stdout.readline()
        if not line.endswith(b"\n"):
            return self._ended(worker)
        self._idle.put(worker)
        answer = json.loads(line)
        return answer["value"] if "value" in answer else CallFailed(answer["error"])

    def _start(self) -> Worker:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            start_new_session=True,  # Ctrl-C is for us; a worker ends when its standard input does
        )

    def _ended(self, worker: Worker) -> CallFailed:
        code = _close(worker)
        if code in (-signal.SIGPROF, -signal.SIGALRM):
            return CallFailed(f"not decided within {self._seconds:g} s")
        return CallFailed(f"the process that works it out ended with exit code {code}")


def _close(worker: Worker) -> int:
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue
    return worker.wait()


def _end(idle: "queue.SimpleQueue[Worker]") -> None:
    while not idle.empty():
        _close(idle.get_nowait())
