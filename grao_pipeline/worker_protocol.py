"""What a process that runs commands (`grao_pipeline.worker`) and the one that asks it tell each other, line by line.

A request is `command(…)`, with an open file where the command's standard output is to go there; or `REST`. The answers
to a command are `BEGUN`, and then `DONE` if it succeeds; one that fails ends the process. `OUTDATED`, at once, says
that a module of the user's that the process had imported is another one now: a new process must run the command. The
answer to `REST` is `DONE`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

BEGUN, DONE, OUTDATED = "begun", "done", "outdated"
REST = b"null\n"
"""What is kept on accelerators makes room for another process."""


class Command(NamedTuple):
    """A command of `grao`, and environment variables for as long as it runs."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = {}

    def request(self) -> bytes:
        """The line that asks for it."""
        return json.dumps(self).encode() + b"\n"


def read_request(line: bytes) -> Command | None:
    """The command that a line asks for; None for `REST`."""
    value = json.loads(line)
    return None if value is None else Command(*value)


class Answers:
    """The answers to one request, as they arrive.

    Example: `answers.add(socket.recv(4096)); answers.last`
    """

    def __init__(self) -> None:
        self._text = ""

    def add(self, data: bytes) -> None:
        """What was received."""
        self._text += data.decode()

    @property
    def has_begun(self) -> bool:
        """Whether the process answered at all."""
        return bool(self._text)

    @property
    def last(self) -> str | None:
        """`DONE` or `OUTDATED`; None until one of them arrives."""
        *lines, rest = self._text.split("\n")
        return lines[-1] if lines and not rest and lines[-1] != BEGUN else None
