"""A chat server without `/completions`, on this machine, that counts what it answers."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.loopback import QuietHandler, serving

Body = dict[str, Any]
Refused = tuple[int, str, dict[str, str]]


def parrot(body: Body, number: int) -> Body:
    """A message that shows what was asked: the last turn, and the number of the choice."""
    return {"content": f"{body['messages'][-1]['content']} {number}"}


@dataclass
class ChatServer:
    """A running server.

    Attributes:
        message: from a request and the number of a choice to the message.
        refuse: from a request to (status, message, headers), or None.
        has_choices: whether it knows `n`; without it, one choice comes back.
    """

    base_url: str = ""
    message: Callable[[Body, int], Body] = parrot
    finish_reason: Callable[[Body], str] = lambda _: "stop"
    refuse: Callable[[Body], Refused | None] = lambda _: None
    has_choices: bool = True
    requests: list[Body] = field(default_factory=list)
    answered: list[Body] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def reply(self, body: Body) -> tuple[int, Body, dict[str, str]]:
        self.requests.append(body)
        refused = self.refuse(body)
        if refused is not None:
            status, message, headers = refused
            return status, {"error": {"message": message}}, headers
        self.answered.append(body)
        first = sum(other["messages"] == body["messages"] for other in self.answered) - 1
        count = body.get("n", 1) if self.has_choices else 1
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", **self.message(body, first + index)},
                "finish_reason": self.finish_reason(body),
            }
            for index in reversed(range(count))
        ]
        return (
            200,
            {
                "object": "chat.completion",
                "choices": choices,
                "usage": {"prompt_tokens": 13, "completion_tokens": 7, "total_tokens": 20},
            },
            {},
        )


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """The server on a free port of this machine."""
    state = ChatServer()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self._send(200, {"object": "list", "data": [{"id": "teacher"}]}, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.paths.append(self.path)
                if self.path != "/v1/chat/completions":
                    self._send(404, {"detail": "Not Found"}, {})
                else:
                    self._send(*state.reply(body))

        def _send(self, status: int, value: Body, headers: dict[str, str]) -> None:
            self.send(status, json.dumps(value).encode(), headers)

    with serving(Handler) as state.base_url:
        yield state
