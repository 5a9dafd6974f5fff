"""The process that the workers of a run are forked from. It has imported the large libraries, so a worker need not.

    python -P -m grao_pipeline.nursery SOCKET

It never computes: no thread and no device exists when it forks.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from grao_pipeline.children import PARENT_VARIABLE
from grao_pipeline.environment import environment
from grao_pipeline.garbage import collect_rarely

LIBRARIES = (
    *("torch", "safetensors.torch", "transformers.models.auto.modeling_auto"),
    *("transformers.models.auto.tokenization_auto", "transformers.models.qwen2.modeling_qwen2"),
    *("transformers.generation", "jinja2", "pydantic", "click"),
)
"""Imported once. None starts a thread, which a fork would lose; Polars and PyArrow do, and are left to the workers."""
LONGEST_NAME = 1000
"""Bytes of the name of a worker."""
BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""NumPy's linear algebra starts its threads at its import, unless there is to be one only. torch has others."""


def num_threads() -> int:
    """Threads of this process; 1 where the system does not tell."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 1


def import_for_forks(modules: Iterable[str]) -> None:
    """Import what forks of this process then need not import. What is not installed is left out."""
    with environment({BLAS_THREADS: "1"}):  # what the forks start counts its cores anew
        for name in modules:
            with suppress(ImportError):  # the stage that needs it names the package
                importlib.import_module(name)
    gc.freeze()  # what is imported stays shared memory, and costs no later collection time


def serve(requests: socket.socket) -> tuple[socket.socket, str] | None:
    """Fork for every socket that arrives with the name of a worker (`Stage.worker`), until the other end closes.

    The answers are lines: `threads NUMBER` once, when all is imported; `started PID` for every request; and, as
    soon as a process has ended, `ended PID CODE`, the code as `subprocess` counts it.

    Returns:
        in a forked process, its socket and the name; None in this one, at the end.
    """
    gc.disable()
    import_for_forks(LIBRARIES)
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    child_ended, wakes = socket.socketpair()
    for end in (child_ended, wakes):
        end.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    requests.sendall(f"threads {num_threads()}\n".encode())
    while True:
        readable, _, _ = select.select([requests, child_ended], [], [])
        if child_ended in readable:
            child_ended.recv(4096)
            _tell_ended(requests)
        if requests in readable:
            worker, files, *_ = socket.recv_fds(requests, LONGEST_NAME, 1)
            if not worker:
                return None
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (requests, child_ended, wakes):
                    other.close()
                gc.enable()
                collect_rarely()
                os.setpgid(0, 0)  # Ctrl-C in the terminal reaches the rounds alone, which then stop the stage
                return socket.socket(fileno=files[0]), worker.decode().strip()
            os.close(files[0])
            requests.sendall(f"started {pid}\n".encode())


def _tell_ended(requests: socket.socket) -> None:
    with suppress(ChildProcessError):  # no child is left
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            requests.sendall(f"ended {pid} {os.waitstatus_to_exitcode(status)}\n".encode())


def main(requests: socket.socket) -> None:
    """Be that process; see `serve`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    forked = serve(requests)
    if forked is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from grao_pipeline.worker import end_at_once, work

        work(*forked)
        end_at_once()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
