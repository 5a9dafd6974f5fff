"""A process that runs the commands of stages, one after another, for as long as they succeed.

It keeps what they imported, and their residents. A command that fails ends it, just as it would end a separate process:
the next one finds nothing that is half done.
"""

import gc
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from grao_pipeline.loaded_code import LoadedCode
from grao_pipeline.residence import RESIDENCE

BEGUN, DONE, OUTDATED = b"begun\n", b"done\n", b"outdated\n"
CHUNK = 1 << 16


def work(requests: socket.socket) -> None:
    """Answer requests until the other end closes. A request is one line of JSON:

    - the arguments of `grao`, with an open file for its standard output. `begun`, and then `done`: it succeeded; or no
      more: it failed, and this process ends as the command does. `outdated` at once: a module of the user's that was
      imported here is another one now, so that a new process must run the command.
    - `null`: the residents rest, which is `done`.
    """
    from grao_pipeline.cli.main import main

    RESIDENCE.open()
    code = LoadedCode()
    answer = DONE
    try:
        for arguments, files in _receive(requests):
            if arguments is None:
                RESIDENCE.rest()
            elif code.has_changed():
                answer = OUTDATED
            else:
                os.dup2(files[0], sys.stdout.fileno())
                os.close(files[0])
                sys.argv = ["grao", *arguments]
                requests.sendall(BEGUN)
                _succeed(main)
            _free_memory()
            with suppress(BrokenPipeError):  # the process of the rounds is gone
                requests.sendall(answer)
            if answer != DONE:
                return
    finally:
        RESIDENCE.close()


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


def _receive(requests: socket.socket) -> Iterator[tuple[list[str] | None, list[int]]]:
    """The requests with their open files, until the end. One comes only after the answer to the one before."""
    while True:
        text = b""
        files: list[int] = []
        while not text.endswith(b"\n"):
            data, received, *_ = socket.recv_fds(requests, CHUNK, 1)
            if not data:
                return
            text += data
            files += received
        yield json.loads(text), files


def _free_memory() -> None:
    """Of what a command left behind, also on the accelerator: other processes use it, too."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
