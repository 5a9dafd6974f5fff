"""A proxy on loopback that injects the faults of networks and busy servers into the requests to a server."""

import json
import select
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["500", "429", "hang", "reset", "truncated"]
SECONDS = 60


class FaultProxy:
    """Forwards to the server at `base_url`, counts, and injects faults.

    Example:
        with FaultProxy(server.base_url, {0: "500", 3: "hang"}) as proxy:
            Server(proxy.base_url).post(...)
            assert proxy.faults == {"500": 1, "hang": 1}

    Args:
        plan: what to do to the n-th POST (from 0) instead of answering it.
        refuse: status and message to refuse the body of a POST with, or None.
        edit: changes an answer of the server (the body of status 200, for a GET as well).
        while_in_flight: called with the number of a POST that the server has received and not yet answered.
    """

    def __init__(
        self,
        base_url: str,
        plan: Mapping[int, Fault] | None = None,
        refuse: Callable[[dict[str, Any]], tuple[int, str] | None] = lambda _: None,
        edit: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer,
        while_in_flight: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.plan = dict(plan or {})
        self.refuse = refuse
        self.edit = edit
        self.while_in_flight = while_in_flight
        self.upstream = urlsplit(base_url).netloc
        self.faults: Counter[str] = Counter()
        """Injected so far."""
        self.bodies: list[dict[str, Any]] = []
        """Of every POST, in the order of arrival."""
        self.authorizations: set[str | None] = set()
        """The `Authorization` headers that were seen."""
        self.unforwarded = 0
        """Requests that the server left unanswered."""
        self.max_in_flight = 0
        self.num_abandoned = 0
        """POSTs whose client went away before the answer."""
        self.abandoned = threading.Semaphore(0)
        """Released for every hanging request that the client has given up."""
        self._in_flight = 0
        self._changed = threading.Condition()
        self._listener = _Listener(("127.0.0.1", 0), _handler(self))
        self.base_url = f"http://127.0.0.1:{self._listener.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    def wait_for_posts(self, number: int) -> None:
        """Wait until this number of POSTs have arrived."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.bodies) >= number, SECONDS)

    def arrived(self, body: dict[str, Any]) -> int:
        """Store the body of a POST; its number."""
        with self._changed:
            self.bodies.append(body)
            self._in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self._in_flight)
            self._changed.notify_all()
            return len(self.bodies) - 1

    def left(self, abandoned: bool) -> None:
        """Count a POST as answered, or as abandoned by its client."""
        with self._changed:
            self._in_flight -= 1
            self.num_abandoned += abandoned

    def inject(self, number: int) -> Fault | None:
        """The fault that is planned for a POST; counted as injected."""
        fault = self.plan.get(number)
        if fault is not None:
            with self._changed:
                self.faults[fault] += 1
        return fault


class _Listener(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that disconnects is not an error here."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = SECONDS
        _is_in_flight = False

        def do_GET(self) -> None:
            self._forward(b"", -1)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            raw = self.rfile.read(length)
            if len(raw) < length:  # the client went away
                self.close_connection = True
                return
            number = proxy.arrived(json.loads(raw))
            self._is_in_flight = True
            try:
                self._answer(raw, number)
            except OSError:  # the client went away
                self.close_connection = True
            finally:
                self._leave(abandoned=True)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: the tests read the counters."""

        def _answer(self, raw: bytes, number: int) -> None:
            fault = proxy.inject(number)
            refusal = proxy.refuse(proxy.bodies[number])
            if fault == "500":
                self._send(500, b'{"error": {"message": "out of luck"}}')
            elif fault == "429":
                self._send(429, b'{"error": {"message": "too many"}}', {"Retry-After": "1"})
            elif fault == "hang":
                self._wait_for_the_client_to_go()
            elif fault == "reset":
                self._reset()
            elif refusal is not None:
                status, message = refusal
                self._send(status, json.dumps({"error": {"message": message}}).encode())
            else:
                self._forward(raw, number, truncated=fault == "truncated")

        def _forward(self, raw: bytes, number: int, truncated: bool = False) -> None:
            proxy.authorizations.add(self.headers["Authorization"])
            connection = HTTPConnection(proxy.upstream, timeout=SECONDS)
            try:
                connection.request(self.command, self.path, raw or None, {"Content-Type": "application/json"})
                if number >= 0:
                    proxy.while_in_flight(number)
                response = connection.getresponse()
                status, answer = response.status, response.read()
            except (OSError, HTTPException):
                proxy.unforwarded += 1
                self._reset()
                return
            finally:
                connection.close()
            if status == 200:
                answer = json.dumps(proxy.edit(json.loads(answer))).encode()
            self._send(status, answer, truncated=truncated)

        def _leave(self, abandoned: bool) -> None:
            """Once for a POST, before its client can know the answer and send another one."""
            if self._is_in_flight:
                self._is_in_flight = False
                proxy.left(abandoned)

        def _client_is_gone(self) -> bool:
            """Whether it has closed the connection: readable, with nothing to read."""
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

        def _send(
            self, status: int, answer: bytes, headers: Mapping[str, str] | None = None, truncated: bool = False
        ) -> None:
            self._leave(abandoned=self._client_is_gone())
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer[: len(answer) // 2] if truncated else answer)
            self.close_connection = self.close_connection or truncated

        def _wait_for_the_client_to_go(self) -> None:
            self.close_connection = True
            try:
                self.connection.recv(1)
            finally:
                proxy.abandoned.release()

        def _reset(self) -> None:
            """Close so that the client gets a TCP reset."""
            self._leave(abandoned=False)
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    return Handler
