"""Sources at URLs: the rows of a real HTTP server and of an fsspec file system; errors that name the URL."""

import json
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.progress import SILENT
from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.prompts.sources import open_source

ROW = {"prompt": "a", "completion": "b"}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    directory = tmp_path_factory.mktemp("served")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory))) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}", directory
        http.shutdown()


def test_a_file_of_a_web_server_is_read_and_no_copy_remains(
    tmp_path: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, directory = server
    (directory / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    summary = build_prompts(f"{url}/rows.jsonl?download=true", str(tmp_path / "out"), PromptsOptions())
    assert (summary.kept, summary.files) == (1, ("rows.jsonl",))
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.jsonl", r"Cannot read http://127.*missing\.jsonl: there is no such file\."),
        ("page", r"http://127.*page: unknown ending"),
        ("broken.jsonl", r"http://127.*broken\.jsonl, line 1: not valid JSON"),
    ],
)
def test_an_error_names_the_url(server: tuple[str, Path], path: str, message: str) -> None:
    url, directory = server
    (directory / "page").write_text("<html>")
    (directory / "broken.jsonl").write_text("{\n")
    with pytest.raises(InputError, match=message), open_source(f"{url}/{path}", "train", None, SILENT) as opened:
        list(opened.rows)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9/a.jsonl", r"Cannot read http://127\.0\.0\.1:9/a\.jsonl: .*[Cc]onnect"),
        ("nothing://a.jsonl", r"Cannot read nothing://a\.jsonl: Protocol not known: nothing"),
        ("s3://bucket/a.jsonl", r"Cannot read s3://bucket/a\.jsonl: Install s3fs"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_with_the_reason(url: str, message: str) -> None:
    if url.startswith("s3:") and find_spec("s3fs"):
        pytest.skip("s3fs is installed")
    with pytest.raises(InputError, match=message), open_source(url, "train", None, SILENT):
        pass


def test_a_directory_at_a_url_has_splits() -> None:
    filesystem = fsspec.filesystem("memory")
    for name in ("train-0.jsonl", "train-1.jsonl", "test.jsonl"):
        filesystem.pipe_file(f"/rows/{name}", json.dumps({**ROW, "name": name}).encode())
    with open_source("memory://rows", "train", None, SILENT) as opened:
        assert [row["name"] for row in opened.rows] == ["train-0.jsonl", "train-1.jsonl"]
        assert (opened.files, opened.other_splits) == (("train-0.jsonl", "train-1.jsonl"), ("test",))


def test_a_url_that_is_none_is_said() -> None:
    with (
        pytest.raises(InputError, match=r"Cannot read https://\[: Invalid IPv6 URL\."),
        open_source("https://[", "train", None, SILENT),
    ):
        pass
