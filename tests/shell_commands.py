"""A program `grao` for shell scripts that starts in a moment: it has its command run by the process of the tests.

The commands are those of tests/commands.py: forked from a process that has imported torch.
"""

import json
import os
import socketserver
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.commands import Command

PROGRAM = """#!{interpreter} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as place:
    place.connect({place!r})
    with place.makefile("rw") as file:
        asked = {{"arguments": sys.argv[1:], "environment": dict(os.environ), "place": os.getcwd()}}
        file.write(json.dumps(asked) + "\\n")
        file.flush()
        answer = json.loads(file.readline())
sys.stdout.write(answer["stdout"])
sys.stderr.write(answer["stderr"])
sys.exit(answer["code"])
"""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Runs a command per connection, several at a time."""

    daemon_threads = True
    starting = threading.Lock()


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        asked = json.loads(self.rfile.readline())
        with Server.starting:
            command = Command(*asked["arguments"], environment=asked["environment"], place=asked["place"])
        stdout, stderr = command.communicate()
        answer = {"stdout": stdout, "stderr": stderr, "code": command.returncode}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


@contextmanager
def quick_grao(path: Path) -> Iterator[None]:
    """Write the program to this path. It works within the block."""
    with tempfile.TemporaryDirectory(prefix="grao-shell-") as folder:  # a socket's path must be short
        place = os.path.join(folder, "socket")
        path.write_text(PROGRAM.format(interpreter=sys.executable, place=place))
        path.chmod(0o755)
        with Server(place, Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield
            finally:
                server.shutdown()
