"""A real S3 API on this machine (moto's server), and a proxy before it that fails as stores and networks do."""

import http.client
import logging
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

Fault = str | None
"""What happens to a request: `401`, `403`, `404`, `500`, `503` instead of its answer; `slow`; a `reset` before it is
done, or after (`lost`); the body of its answer `truncated` or `flipped`; None: nothing."""
Policy = Callable[[str, str], Fault]
"""`policy(method, path) -> fault`"""
CODES = {401: "ExpiredToken", 403: "AccessDenied", 404: "NoSuchBucket", 500: "InternalError", 503: "SlowDown"}
SLOW_SECONDS = 0.3
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "id-of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Of a process that talks to it, besides AWS_ENDPOINT_URL."""


@contextmanager
def s3_server(*buckets: str) -> Iterator[str]:
    """A running server with these buckets; its URL."""
    import boto3

    os.environ.update(ENVIRONMENT)
    command = [sys.executable, "-m", __name__]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parents[1]) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        client = boto3.client("s3", endpoint_url=url)
        for bucket in buckets:
            client.create_bucket(Bucket=bucket)
        try:
            yield url
        finally:
            server.stdin.close()


def _serve() -> None:
    """Serve until standard input closes: in another process, because vLLM cannot start where Flask is imported."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    server.stop()


@dataclass
class FaultProxy:
    """Passes requests on to a server, or does to them what `policy` says; that may be changed at any time.

    Attributes:
        requests: method and path of each, in order.
        conditional: paths of those that write only what is not there yet.
        faults: those that happened, in order.
    """

    target: str
    policy: Policy = lambda method, path: None
    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    conditional: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def reset(self) -> None:
        """Pass everything on, and forget what was."""
        self.policy = lambda method, path: None
        self.requests.clear()
        self.conditional.clear()
        self.faults.clear()


@contextmanager
def fault_proxy(target: str) -> Iterator[FaultProxy]:
    """A running proxy before the server at `target`."""
    proxy = FaultProxy(target)

    class Handler(_ProxyHandler):
        state = proxy

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def always(fault: str, methods: str = "GET HEAD PUT POST DELETE") -> Policy:
    """The same fault for every request with one of these methods."""
    return lambda method, path: fault if method in methods.split() else None


def sometimes(faults: tuple[str, ...], share: float, generator: random.Random) -> Policy:
    """One of the faults for this share of the requests."""
    return lambda method, path: generator.choice(faults) if generator.random() < share else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore clients that hang up."""


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FaultProxy

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.state.requests.append((self.command, self.path))
        if self.command == "PUT" and self.headers.get("If-None-Match") == "*":
            self.state.conditional.append(self.path)
        fault = self.state.policy(self.command, self.path)
        if fault is not None:
            self.state.faults.append(fault)
        if fault == "reset":
            return self._reset()
        if fault is not None and fault.isdigit():
            return self._refuse(int(fault))
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        connection = http.client.HTTPConnection(urlsplit(self.state.target).netloc)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        connection.request(self.command, self.path, body, headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        if fault == "lost":
            return self._reset()
        if fault == "flipped" and data:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if fault == "truncated" and data:
            self.wfile.write(data[: len(data) // 2])
            return self._reset()
        self.wfile.write(data)
        return None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _refuse(self, status: int) -> None:
        text = f"<Error><Code>{CODES[status]}</Code><Message>{CODES[status]}, says the proxy</Message></Error>"
        data = b"" if self.command == "HEAD" else text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


if __name__ == "__main__":
    _serve()
