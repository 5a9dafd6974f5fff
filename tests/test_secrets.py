"""No secret reaches what a pipeline writes or prints: canaries in keys, tokens, URLs and headers are searched for."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import tiny
from tests.generation.chat_server import Body, chat_server
from tests.loopback import QuietHandler, serving

CANARY = "canary7d1f"
VARIABLES = ("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "WANDB_API_KEY")
SOURCE = "".join(json.dumps({"prompt": f"question {i}?", "response": f"answer {i}"}) + "\n" for i in range(4)).encode()


@pytest.fixture
def source() -> Iterator[str]:
    """The URL of a JSONL file, with a password and a signature."""

    class Handler(QuietHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            self.send(200, b"" if self.command == "HEAD" else SOURCE, {"X-Secret": CANARY})

    with serving(Handler) as base_url:
        address = base_url.removeprefix("http://").removesuffix("/v1")
        yield f"http://user:{CANARY}@{address}/data.jsonl?X-Amz-Signature={CANARY}&X-Amz-Security-Token={CANARY}"


def readable(path: Path) -> bytes:
    """The bytes of a file; of Parquet, whose pages are compressed, its values and metadata."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        data += repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()
    return data


def test_no_secret_is_in_any_output_of_the_stages(
    tmp_path: Path, model: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("GRAO_CACHE", str(tmp_path / "cache"))
    printed = []

    def run(*arguments: object) -> None:
        result = tiny.grao(*arguments, "-v")
        printed.append(result.output)
        assert result.exit_code == 0, result.output

    def echo_the_key(body: Body, number: int) -> Body:
        return {"content": f"{body['messages'][-1]['content'][:20]} {number}"}

    p, g, s, a, t = (tmp_path / name for name in ("prompts", "groups", "scores", "advantages", "texts"))
    with chat_server() as server:
        server.message = echo_the_key
        run("prompts", source, p)
        run("prompts", source, tmp_path / "twice", "--json")
        chat = ["--engine", "openai", "--api", "chat", "--base-url", server.base_url, "--samples", 2]
        run("generate", p, t, *chat, "--max-new-tokens", 8)
        server.refuse = lambda body: (401, f"wrong key {CANARY}", {})
        refused = tiny.grao("generate", p, tmp_path / "no", *chat, "--max-new-tokens", 8)
    printed.append(refused.output)
    assert refused.exit_code != 0
    run("generate", p, g, "--model", model, "--engine", "transformers", "--samples", 2, "--max-new-tokens", 4)
    run("score", g, s, "--reward", "length", "--reward-arg", "target=3")
    run("advantages", g, a, "--scores", s)
    run("train", g, a, tmp_path / "trained", "--model", model)
    run("evaluate", g, s, tmp_path / "evaluation")
    for place in (p, g, tmp_path / "trained"):
        run("inspect", place)
    nowhere = source.replace("127.0.0.1", "127.0.0.2")
    failed = tiny.grao("prompts", nowhere, tmp_path / "none")
    printed.append(failed.output)
    leaks = [str(path) for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in readable(path)]
    assert not leaks
    assert [text for text in printed if CANARY in text] == []
    assert os.environ["HF_TOKEN"] == CANARY
