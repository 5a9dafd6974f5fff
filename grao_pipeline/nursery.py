"""The process that the stages of a run are forked from. It has imported the large libraries, so a stage need not.

    python -P -m grao_pipeline.nursery SOCKET

It never computes: no thread and no device exists when it forks.
"""

import importlib
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from grao_pipeline.children import PARENT_VARIABLE

LIBRARIES = (
    *("torch", "safetensors.torch", "transformers.models.auto.modeling_auto"),
    *("transformers.models.auto.tokenization_auto", "transformers.models.qwen2.modeling_qwen2"),
    *("transformers.generation", "jinja2", "pydantic", "click"),
)
"""Imported once. None starts a thread, which a fork would lose; Polars and PyArrow do, and are left to the stages."""
POLL_SECONDS = 0.02
LONGEST_REQUEST = 1 << 16


def num_threads(process: int | str = "self") -> int:
    """Threads of a process; 1 where the system does not tell."""
    tasks = Path(f"/proc/{process}/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 1


def serve(requests: socket.socket) -> list[str] | None:
    """Fork for every request until the other end closes.

    A request is the arguments of `grao` as JSON, and an open file for standard output. The answers are lines: the
    process ID, then the exit code as `subprocess` counts it.

    Returns:
        in a forked process, the arguments of its command; None in this one, at the end.
    """
    for name in LIBRARIES:
        with suppress(ImportError):  # the stage that needs it names the package
            importlib.import_module(name)
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    requests.sendall(f"{num_threads()}\n".encode())
    while True:
        request, files, *_ = socket.recv_fds(requests, LONGEST_REQUEST, 1)
        if not request:
            return None
        pid = os.fork()
        if pid == 0:
            requests.close()
            os.setpgid(0, 0)  # Ctrl-C in the terminal reaches the rounds alone, which then stop the stage
            os.dup2(files[0], sys.stdout.fileno())
            os.close(files[0])
            arguments: list[str] = json.loads(request)
            return arguments
        os.close(files[0])
        requests.sendall(f"{pid}\n".encode())
        requests.sendall(f"{_wait(pid, requests)}\n".encode())


def _wait(pid: int, requests: socket.socket) -> int:
    """The exit code of a stage. If the rounds end before it, so does this process, and the stage with it."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        readable, _, _ = select.select([requests], [], [], POLL_SECONDS)
        if readable and not requests.recv(1, socket.MSG_PEEK):
            os._exit(1)


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arguments = serve(socket.socket(fileno=int(sys.argv[1])))
    if arguments is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["grao", *arguments]
        from grao_pipeline.cli.main import main

        main(prog_name="grao")


if __name__ == "__main__":
    _main()
