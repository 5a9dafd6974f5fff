"""`grao view`: the same answers as the page, from tables of any size; for whoever has the token, and nobody else."""

import http.client
import itertools
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.writer import TableWriter
from grao_pipeline.testing import group_row, score_row
from grao_pipeline.view.options import ViewOptions
from grao_pipeline.view.serve import View
from tests import tiny
from tests.report.pages import Visit, on_disk, visit, wait_until
from tests.tiny import write_table

WORDS = ["apple", "Berry", "cherry", "ÄPFEL", "date"]


class Client:
    """A reader of one view, with or without its cookie."""

    def __init__(self, address: str) -> None:
        parts = urllib.parse.urlsplit(address)
        assert parts.port
        self.host, self.port = parts.hostname, parts.port
        status, headers, _ = self.request(f"/?{parts.query}", cookie="")
        assert (status, headers["location"]) == (303, "/")
        self.cookie = headers["set-cookie"].partition(";")[0]

    def request(
        self, path: str, cookie: str | None = None, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers in lower case, body)."""
        with closing(http.client.HTTPConnection(self.host or "", self.port, timeout=60)) as connection:
            given = {"Cookie": self.cookie if cookie is None else cookie, **headers}
            connection.request(method, path, headers=given)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def ask(self, path: str, **values: object) -> Any:
        status, _, body = self.request(f"/api/{path}?{urllib.parse.urlencode(values)}")
        assert status == 200, body
        return json.loads(body)

    def rows(self, **query: object) -> list[int]:
        """The positions of all groups that meet a query, in its order, once it has seen all of them."""
        while True:
            answer = self.ask("page", limit=500, **query)
            if answer["scanned"] == 1:
                assert answer["matched"] == len(answer["rows"])
                return [row["at"] for row in answer["rows"]]


@contextmanager
def viewing(path: Path | str, **options: object) -> Iterator[str]:
    """The address of a view in this process."""
    view = View(str(path), ViewOptions.model_validate(options))
    threading.Thread(target=view.run, daemon=True).start()
    yield view.address


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 groups in parts of 64, two rewards, one of which failed here and there."""
    place = tmp_path_factory.mktemp("viewed")
    rows, first, second = [], [], []
    for i in range(150):
        row = group_row(f"question {i} about {WORDS[i % 5]}", [f"answer {i}", f"{WORDS[i % 3]} again"], "a reference")
        row["finish_reasons"] = ["length" if i % 7 == 0 else "stop", "stop"]
        rows.append(row)
        first.append(score_row(row["group_id"], [(i * 37 % 101) / 100, (i * 53 % 97) / 100], 0.5))
        second.append(score_row(row["group_id"], [None if i % 11 == 0 else 1.0, 1.0 if i % 2 else 0.0], None))
    options = {"fingerprint": "g" * 32, "rows_per_part": 64}
    write_table(place / "groups", "groups", rows, **options)  # type: ignore[arg-type]  # keywords of two kinds
    for name, scores in (("first", first), ("second", second)):
        inputs = {"groups": "g" * 32}
        write_table(place / name, "scores", scores, 64, fingerprint=name * 5, options={"name": name}, inputs=inputs)
    return place


@pytest.fixture(scope="module")
def client(tables: Path) -> Iterator[Client]:
    with viewing(tables) as address:
        yield Client(address)


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["first", "second"])
def test_server_and_page_answer_every_query_alike(
    client: Client, tables: Path, chromium: Any, tmp_path: Path, reward: str
) -> None:
    """The page's JavaScript looks through all groups in memory; the server's Python through the parts of the tables."""
    orders = itertools.product(["", "spread", "best", "worst"], ["", "APPLE", "äpfel"], ["", "length", "error"])
    bounds: list[dict[str, float]] = [{}, {"low": 0.3}, {}, {"low": 0.25, "high": 0.75}, {"high": 0.5}]
    queries: list[dict[str, object]] = [
        {"sort": sort, "text": text, "status": status, **bound}
        for (sort, text, status), bound in zip(orders, itertools.cycle(bounds), strict=False)
    ]
    queries.append({"status": "no variance"})
    tiny.grao_json("report", tables, tmp_path / "page.html")
    with visit(chromium, on_disk(tmp_path / "page.html")) as seen:
        seen.page.goto(f"{on_disk(tmp_path / 'page.html')}#samples")
        seen.page.wait_for_selector(".row .title")
        for query in queries:
            whole = {"set": "groups", "reward": reward, "sort": "", "text": "", "low": None, "high": None, **query}
            code = "query => document.querySelector('.browser').source.page(query, 0, 1e6).then(answer => answer.rows)"
            in_page = seen.page.evaluate(code, whole)
            assert client.rows(set="groups", reward=reward, **query) == [row["at"] for row in in_page], query
        answer = client.ask("page", set="groups", reward=reward, limit=150)
        assert answer["rows"] == seen.page.evaluate(
            code, {**whole, **dict.fromkeys(queries[0], ""), "low": None, "high": None}
        )


def test_a_group_is_read_whole_and_found_by_its_prompt(client: Client) -> None:
    group = client.ask("group", set="groups", at=130)
    assert group["messages"][0]["content"]["text"] == "question 130 about apple"
    assert [sample["rewards"]["first"] for sample in group["samples"]] == [0.63, pytest.approx(130 * 53 % 97 / 100)]
    assert client.ask("counterpart", set="groups", prompt=group["prompt_id"], at=3) == group
    assert client.ask("counterpart", set="groups", prompt="0" * 32, at=3) is None
    assert client.ask("group", set="groups", at=150) is None


def test_nothing_is_answered_without_the_token(client: Client) -> None:
    for path in ("/", "/api/sets", "/assets/dom.js", "/?token=wrong"):
        status, headers, body = client.request(path, cookie="")
        assert (status, b"token" in body) == (403, True)
        assert "set-cookie" not in headers
    name = client.cookie.partition("=")[0]
    assert client.request("/api/sets", cookie=f"{name}=wrong")[0] == 403


def test_other_hosts_and_methods_are_refused(client: Client) -> None:
    """A page of another site that has its name resolve to this machine sends that name."""
    assert client.request("/api/sets", Host="evil.example")[0] == 400
    assert client.request("/api/sets", Host=f"localhost:{client.port}")[0] == 200
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client.request("/api/sets", method=method)[0] == 405


def test_paths_and_wrong_values_reach_no_file(client: Client) -> None:
    for path in ("/assets/../app.py", "/assets/%2e%2e/app.py", "/assets//etc/passwd", "/assets/report_page.js"):
        assert client.request(path)[0] == 404
    for query in ("set=/etc&at=0", "set=groups&at=-1", "set=groups&at=x", "set=groups&at=1e3"):
        assert client.request(f"/api/group?{query}")[0] in (400, 404)
    assert client.request("/api/page?set=groups&low=nan")[0] == 400
    assert client.request("/api/page?set=groups&sort=other")[0] == 400
    headers = client.request("/")[1]
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")


def test_any_of_the_tables_shows_the_groups_that_it_belongs_to(tables: Path, tmp_path: Path) -> None:
    for place in ("first", "groups"):
        with viewing(tables / place) as address:
            (shown,) = Client(address).ask("sets")["sets"]
            assert (shown["total"], shown["rewards"]) == (150, ["first", "second"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(tables / "second")
    alone = tmp_path / "alone"
    alone.mkdir()
    for path in (tables / "second").iterdir():
        (alone / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="Name them with --groups"):
        View(str(alone), ViewOptions())
    with viewing(alone, groups=str(tables / "groups")) as address:
        (shown,) = Client(address).ask("sets")["sets"]
        assert shown["rewards"] == ["second"]


def test_a_port_that_is_taken_is_one_message(client: Client, tables: Path) -> None:
    result = tiny.grao("view", tables, "--port", client.port)
    assert result.exit_code == 1
    assert f"Cannot listen at 127.0.0.1, port {client.port}: Address already in use." in result.stderr


@pytest.mark.slow
def test_a_table_that_grows_is_followed(chromium: Any, tmp_path: Path) -> None:
    rows = [group_row(f"question {i}", ["answer", "other"]) for i in range(8)]
    writer = TableWriter(str(tmp_path / "run" / "groups"), Provenance("groups", "f" * 32, {}, {}), 2)
    parts = [pa.Table.from_pylist(rows[start : start + 4], schema=TABLES["groups"].arrow()) for start in (0, 4)]
    writer.write(0, parts[0])
    with viewing(tmp_path / "run") as address, visit(chromium, address) as seen:
        state = "document.querySelector('.state').textContent"
        wait_until(seen.page, f"{state} === '4 groups'")
        seen.page.locator(".row").nth(2).click()
        wait_until(seen.page, "document.querySelector('.turn .text')?.textContent === 'question 2'")
        writer.write(1, parts[1])
        wait_until(seen.page, f"{state} === '8 groups'")
        scores = [score_row(row["group_id"], [0.0, 1.0]) for row in rows]
        writer.finish()
        write_table(tmp_path / "run" / "scores", "scores", scores, options={"name": "x"}, inputs={"groups": "f" * 32})
        wait_until(seen.page, "document.querySelector('.row .facts')?.textContent.includes('spread 1')")
        assert seen.page.locator(".turn .text").inner_text() == "question 2"
        assert seen.serious_violations() == []
        check_quiet(seen)


@pytest.mark.slow
def test_a_damaged_part_is_named_on_the_page(chromium: Any, tmp_path: Path) -> None:
    write_table(tmp_path / "groups", "groups", [group_row(f"question {i}", ["answer"]) for i in range(8)])
    part = tmp_path / "groups" / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:-40])
    with viewing(tmp_path / "groups") as address, visit(chromium, address) as seen:
        message = f"{part} is damaged"
        wait_until(seen.page, f"document.querySelector('.state').textContent.startsWith({json.dumps(message)})")


def check_quiet(seen: Visit) -> None:
    """No error, and no request but to the server itself."""
    assert seen.problems == []
    hosts = {urllib.parse.urlsplit(url).netloc for url in seen.requests}
    assert len(hosts) == 1
    assert next(iter(hosts)).startswith("127.0.0.1:")


@pytest.mark.slow
def test_groups_that_rounds_are_writing_are_shown_without_a_link(tmp_path: Path) -> None:
    """A task is linked when it is done; until then its parts lie in the store. What is complete there and has no link
    belongs to other configurations."""
    rows = [group_row(f"question {i}", ["answer"]) for i in range(4)]
    store = tmp_path / "run" / "store" / "generate"
    write_table(store / ("a" * 32), "groups", rows, fingerprint="a" * 32)
    writer = TableWriter(str(store / ("b" * 32)), Provenance("groups", "b" * 32, {}, {}), 2)
    writer.write(0, pa.Table.from_pylist(rows[:2], schema=TABLES["groups"].arrow()))
    with viewing(tmp_path / "run") as address:
        (shown,) = Client(address).ask("sets")["sets"]
        assert (shown["label"], shown["total"], shown["is_complete"]) == ("generate · bbbbbbbb", 2, False)
        writer.write(1, pa.Table.from_pylist(rows[2:], schema=TABLES["groups"].arrow()))
        writer.finish()
        catalog = Client(address)
        while not (sets := catalog.ask("sets")["sets"]) or not sets[0]["is_complete"]:
            assert len(sets) == 1
        assert (sets[0]["label"], sets[0]["total"]) == ("generate · bbbbbbbb", 4)
        (tmp_path / "run" / "round-0").mkdir()
        (tmp_path / "run" / "round-0" / "generate").symlink_to(store / ("b" * 32))
        while (sets := catalog.ask("sets")["sets"])[0]["label"] != "round 0 · training":
            assert len(sets) == 1
