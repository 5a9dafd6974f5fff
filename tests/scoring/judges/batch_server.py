"""A chat server with batch files: OpenAI's protocol, on this machine, with every request counted."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback import QuietHandler, serving
from tests.scoring.judges.common import MODEL, JudgeServer, longer_wins

Body = dict[str, Any]


@dataclass
class BatchServer:
    """A running server. A batch ends at its `polls_needed`-th look.

    Attributes:
        outcome: how a batch (by its number) ends.
        fails: the status and message of a request that fails, by its custom ID; None: it is answered.
        lost: names of calls whose answer is lost once, after they were done, e.g. `create`.
    """

    base_url: str = ""
    polls_needed: int = 2
    outcome: Callable[[int], str] = lambda _: "completed"
    answered_share: float = 1.0
    """Of a batch that expires or is cancelled."""
    fails: Callable[[int, str], tuple[int, str] | None] = lambda number, custom_id: None
    lost: list[str] = field(default_factory=list)
    has_batches: bool = True
    judge: JudgeServer = field(default_factory=lambda: JudgeServer(rule=longer_wins))
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, Body] = field(default_factory=dict)
    polls: dict[str, int] = field(default_factory=dict)
    answered: list[str] = field(default_factory=list)
    """Custom IDs of the requests that were answered, so that a second answer shows."""
    polled: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def submitted(self) -> list[list[str]]:
        """The custom IDs of every batch."""
        return [[line["custom_id"] for line in self._lines(batch)] for batch in self.batches.values()]

    def upload(self, content_type: str, data: bytes) -> tuple[int, Body]:
        header = f"Content-Type: {content_type}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(header + data).get_payload()
        assert isinstance(parts, list)
        fields = {part.get_param("name", header="content-disposition"): part for part in parts}  # type: ignore[union-attr]
        assert fields["purpose"].get_payload() == "batch"  # type: ignore[union-attr]
        file_id = f"file-{len(self.files)}"
        content = fields["file"].get_payload(decode=True)  # type: ignore[union-attr]
        assert isinstance(content, bytes)
        self.files[file_id] = content
        return 200, {"id": file_id, "object": "file", "purpose": "batch", "bytes": len(content), "status": "processed"}

    def create(self, body: Body) -> tuple[int, Body]:
        assert sorted(body) == ["completion_window", "endpoint", "input_file_id", "metadata"]
        assert (body["completion_window"], body["endpoint"]) == ("24h", "/v1/chat/completions")
        batch_id = f"batch_{len(self.batches)}"
        batch = {"id": batch_id, "object": "batch", "errors": None, "status": "validating", **body}
        batch |= {"output_file_id": None, "error_file_id": None, "number": len(self.batches)}
        self.batches[batch_id] = batch
        batch["request_counts"] = {"total": len(self._lines(batch)), "completed": 0, "failed": 0}
        self.polls[batch_id] = 0
        return 200, batch

    def retrieve(self, batch_id: str) -> tuple[int, Body]:
        if batch_id not in self.batches:
            return 404, {"error": {"message": f"No batch found with id '{batch_id}'."}}
        batch = self.batches[batch_id]
        self.polls[batch_id] += 1
        self.polled.set()
        if batch["status"] in ("validating", "in_progress"):
            batch["status"] = "in_progress"
            if self.polls[batch_id] >= self.polls_needed:
                self._end(batch)
        return 200, batch

    def listed(self, query: str) -> tuple[int, Body]:
        """Two to a page, the newest first."""
        newest = list(reversed(self.batches.values()))
        after = parse_qs(query).get("after", [""])[0]
        start = next((i + 1 for i, batch in enumerate(newest) if batch["id"] == after), 0)
        page = newest[start : start + 2]
        return 200, {"object": "list", "data": page, "has_more": start + 2 < len(newest)}

    def _lines(self, batch: Body) -> list[Body]:
        return [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]

    def _end(self, batch: Body) -> None:
        batch["status"] = self.outcome(batch["number"])
        if batch["status"] == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "invalid", "message": "line 1 is not JSON."}]}
            return
        lines = self._lines(batch)
        in_time = len(lines) if batch["status"] == "completed" else int(len(lines) * self.answered_share)
        output, errors = [], []
        for number, line in enumerate(lines):
            assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
            custom_id, result = line["custom_id"], {"id": f"req_{number}", "custom_id": line["custom_id"]}
            failure = self.fails(batch["number"], custom_id)
            if number >= in_time:
                expired = {"code": "batch_expired", "message": "The window has ended."}
                errors.append({**result, "response": None, "error": expired})
            elif failure is not None:
                status, message = failure
                response = {"status_code": status, "body": {"error": {"message": message}}}
                errors.append({**result, "response": response, "error": None})
            else:
                status, answer, _ = self.judge.reply(line["body"])
                self.answered.append(custom_id)
                output.append({**result, "response": {"status_code": status, "body": answer}, "error": None})
        batch["request_counts"] |= {"completed": len(output), "failed": len(errors)}
        for name, results in (("output_file_id", output), ("error_file_id", errors)):
            if results:
                batch[name] = f"file-{len(self.files)}"
                text = "\n".join(json.dumps(result) for result in reversed(results))
                self.files[batch[name]] = text.encode() + b"\n"


@contextmanager
def batch_server() -> Iterator[BatchServer]:
    """The server on a free port of this machine."""
    state = BatchServer()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            name = url.path.removeprefix("/v1")
            with state.lock:
                if name == "/models":
                    self._send("models", 200, {"data": [{"id": MODEL}]})
                elif name == "/batches":
                    self._send("list", *state.listed(url.query))
                elif name.startswith("/batches/"):
                    self._send("retrieve", *state.retrieve(name.split("/")[2]))
                else:
                    self._send("content", 200, state.files[name.split("/")[2]])

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            name = self.path.removeprefix("/v1")
            with state.lock:
                if name == "/chat/completions":
                    self._send("chat", *state.judge.reply(json.loads(data))[:2])
                elif not state.has_batches:
                    self._send("none", 404, {"error": {"message": "Not Found"}})
                elif name == "/files":
                    self._send("upload", *state.upload(self.headers["Content-Type"], data))
                else:
                    assert name == "/batches"
                    self._send("create", *state.create(json.loads(data)))

        def _send(self, call: str, status: int, value: Body | bytes) -> None:
            if call in state.lost:
                state.lost.remove(call)
                self.close_connection = True
                return
            self.send(status, value if isinstance(value, bytes) else json.dumps(value).encode(), {})

    with serving(Handler) as state.base_url:
        yield state
