"""`grao view`: serve the groups below a path until it is stopped."""

import secrets
import socket
import webbrowser
from contextlib import suppress

import uvicorn

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.view.app import ViewApp
from grao_pipeline.view.catalog import Catalog
from grao_pipeline.view.options import ViewOptions

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class View:
    """Groups at an address of this machine; the address holds a random token.

    Args:
        path: of a run, a directory of tables, or one table.

    Attributes:
        address: answers as soon as `run` is called; until then requests wait.

    Raises (on construction):
        InputError: there are no groups, or nothing can listen at the address.
    """

    def __init__(self, path: str, options: ViewOptions, progress: Progress = SILENT) -> None:
        with progress.track(f"looking through {path}"):
            catalog = Catalog(path, options)
        for problem in catalog.problems:
            progress.warn(problem)
        if options.host not in LOOPBACK:
            progress.warn(f"Other machines can reach {options.host}: whoever has the address reads the groups.")
        self._listener = _listen(options)
        port = self._listener.getsockname()[1]
        token = secrets.token_urlsafe(24)
        host = f"[{options.host}]" if ":" in options.host else options.host
        self.address = f"http://{host}:{port}/?token={token}"
        self._is_opened = options.open
        self._app = ViewApp(catalog, token, host, f"grao-view-{port}").app

    def run(self) -> None:
        """Answer until Ctrl-C."""
        if self._is_opened:
            webbrowser.open(self.address)
        config = uvicorn.Config(self._app, log_level="warning", access_log=False, server_header=False, lifespan="off")
        with self._listener, suppress(KeyboardInterrupt):  # uvicorn has ended well when it raises this
            uvicorn.Server(config).run(sockets=[self._listener])


def _listen(options: ViewOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
        listener.listen()
    except OSError as error:
        listener.close()
        if isinstance(error, socket.gaierror):
            raise UsageError(f"'{options.host}' is not an address of this machine.", option="host") from error
        raise InputError(
            f"Cannot listen at {options.host}, port {options.port}: {error.strerror}. Choose another --port; 0 is any "
            "free one."
        ) from error
    return listener
