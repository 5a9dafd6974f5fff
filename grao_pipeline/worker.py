"""A process that runs the commands of stages, one after another, for as long as they succeed.

    python -P -m grao_pipeline.worker SOCKET [stay]

It keeps what they imported, and with `stay` their residents. A command that fails ends it, just as it would end a
separate process: the next one finds nothing that is half done.
"""

import gc
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NoReturn

from grao_pipeline.environment import environment
from grao_pipeline.garbage import collect_rarely
from grao_pipeline.loaded_code import LoadedCode
from grao_pipeline.pipeline import stages
from grao_pipeline.residence import RESIDENCE
from grao_pipeline.stage import load_object
from grao_pipeline.worker_protocol import BEGUN, DONE, OUTDATED, Command, read_request

CHUNK = 1 << 16


def work(requests: socket.socket, name: str = "", stay: bool = True) -> None:
    """Answer requests (`grao_pipeline.worker_protocol`) until the other end closes, or a command fails.

    Args:
        name: of the worker whose stages it runs: what they need is imported before the first request.
        stay: keep the residents from one command to the next.
    """
    from grao_pipeline.cli.main import main

    if stay:
        RESIDENCE.open()
    code = LoadedCode()
    _import_stages(name)
    gc.freeze()  # what is imported stays: no later collection looks at it
    answer = DONE
    try:
        for command, files in _receive(requests):
            if command is None:
                RESIDENCE.rest()
            elif code.has_changed():
                answer = OUTDATED
            else:
                for file in files:
                    os.dup2(file, sys.stdout.fileno())
                    os.close(file)
                sys.argv = ["grao", *command.arguments]
                _send(requests, BEGUN)
                with environment(command.environment):
                    _succeed(main)
            _free_accelerator()
            _send(requests, answer)
            if answer != DONE:
                return
            gc.collect()
    finally:
        RESIDENCE.close()


def _import_stages(worker: str) -> None:
    from grao_pipeline.cli.main import stage_command

    for stage in stages():
        if stage.worker == worker:
            # One that cannot be imported says so when it is asked for; the others work.
            with suppress(Exception):
                stage_command(stage.name)
                load_object(stage.verb)


def _send(requests: socket.socket, answer: str) -> None:
    with suppress(ConnectionError):  # who asked is gone
        requests.sendall(f"{answer}\n".encode())


def _succeed(command: Callable[..., object]) -> None:
    """Run a command of `sys.argv`.

    Raises:
        SystemExit: it failed.
    """
    try:
        command(prog_name="grao")
    except SystemExit as end:
        if end.code:
            raise
    sys.stdout.flush()


def _receive(requests: socket.socket) -> Iterator[tuple[Command | None, list[int]]]:
    """The requests with their open files, until the end. One comes only after the answer to the one before."""
    while True:
        text = b""
        files: list[int] = []
        while not text.endswith(b"\n"):
            data = b""
            with suppress(ConnectionResetError):  # who asked was killed before it had read the last answer
                data, received, *_ = socket.recv_fds(requests, CHUNK, 1)
            if not data:
                return
            text += data
            files += received
        yield read_request(text), files


def _free_accelerator() -> None:
    """Free what a command left behind there: other processes use it, too."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def end_at_once() -> NoReturn:
    """End this process without taking Python's modules down one by one, which takes a second where torch is loaded."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _main() -> None:
    collect_rarely()
    requests, *stay = sys.argv[1:]
    work(socket.socket(fileno=int(requests)), stay=bool(stay))
    end_at_once()


if __name__ == "__main__":
    _main()
