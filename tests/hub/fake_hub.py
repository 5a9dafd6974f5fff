"""A hub on loopback: the part of the API that pushing and downloading use, with commits that appear whole."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from tests.loopback import QuietHandler, serving


@dataclass
class FakeHub:
    """Repositories by `models/me/aligned`, each with the files of its branches.

    Attributes:
        token: what writers must send.
    """

    token: str = "hf_test"
    files: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    created: list[dict[str, object]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    url: str = ""

    def commit_of(self, repository: str, branch: str) -> str:
        """The ID of the newest commit of a branch."""
        state = sorted(self.files.get((repository, branch), {}).items())
        return hashlib.sha1(repr(state).encode()).hexdigest()

    def branch_of(self, repository: str, revision: str) -> str | None:
        """The branch that a name or the ID of a commit means."""
        branches = [branch for name, branch in self.files if name == repository]
        return next((one for one in branches if revision in (one, self.commit_of(repository, one))), None)


@contextmanager
def serving_hub(hub: FakeHub) -> Iterator[FakeHub]:
    """The hub, while it runs; `hub.url` is its endpoint."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = unquote(urlsplit(self.path).path)
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._json(401, {"error": "Invalid credentials in Authorization header"})
            elif path == "/api/validate-yaml":
                self._json(200, {"errors": [], "warnings": []})
            elif path == "/api/repos/create":
                self._create(json.loads(body))
            else:
                _, _, kind, owner, name, action, branch = path.split("/", 6)
                self._write(f"{kind}/{owner}/{name}", action, branch, body)

        def do_GET(self) -> None:
            self._read(with_body=True)

        def do_HEAD(self) -> None:
            self._read(with_body=False)

        def _create(self, asked: dict[str, str]) -> None:
            hub.created.append(dict(asked))
            kind = asked.get("type", "model")
            name = f"{asked['organization']}/{asked['name']}"
            hub.files.setdefault((f"{kind}s/{name}", "main"), {})
            self._json(200, {"url": f"{hub.url}/{name if kind == 'model' else f'{kind}s/{name}'}"})

        def _write(self, repository: str, action: str, branch: str, body: bytes) -> None:
            if action == "branch":
                hub.files.setdefault((repository, branch), dict(hub.files[repository, "main"]))
                self._json(200, {})
            elif (repository, branch) not in hub.files:
                self._json(404, {"error": "Repository not found"})
            elif action == "preupload":
                names = [file["path"] for file in json.loads(body)["files"]]
                modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
                self._json(200, {"files": modes})
            else:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "header":
                        hub.messages.append(line["value"]["summary"])
                    else:
                        content = base64.b64decode(line["value"]["content"])
                        hub.files[repository, branch][line["value"]["path"]] = content
                oid = hub.commit_of(repository, branch)
                self._json(200, {"commitUrl": f"{hub.url}/{repository}/commit/{oid}", "commitOid": oid})

        def _read(self, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith("/api/"):
                _, _, kind, owner, name, *rest = path.split("/")
                self._describe(f"{kind}/{owner}/{name}", rest[1] if len(rest) > 1 else "main", rest[:1] == ["tree"])
                return
            kind = "datasets" if path.startswith("/datasets/") else "models"
            owner, name, _, revision, file = path.removeprefix("/datasets").lstrip("/").split("/", 4)
            repository = f"{kind}/{owner}/{name}"
            branch = hub.branch_of(repository, revision)
            content = None if branch is None else hub.files[repository, branch].get(file)
            if branch is None or content is None:
                self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
                return
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
            headers |= {"X-Repo-Commit": hub.commit_of(repository, branch)}
            if with_body:
                self.send(200, content, headers)
                return
            self.send_response(200)
            for key, text in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, text)
            self.end_headers()

        def _describe(self, repository: str, revision: str, is_tree: bool) -> None:
            branch = hub.branch_of(repository, revision)
            if branch is None:
                self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return
            if is_tree:
                files = hub.files[repository, branch].items()
                self._json(
                    200, [{"type": "file", "path": name, "size": len(data), "oid": name} for name, data in files]
                )
                return
            names = [{"rfilename": name} for name in hub.files[repository, branch]]
            value = {"id": repository.partition("/")[2], "sha": hub.commit_of(repository, branch), "siblings": names}
            if "expand" in parse_qs(urlsplit(self.path).query):
                value |= {"tags": []}
            self._json(200, value)

        def _json(self, status: int, value: object) -> None:
            self.send(status, json.dumps(value).encode(), {})

    with serving(Handler) as url:
        hub.url = url.removesuffix("/v1")
        yield hub
