"""`grao view` on a large table: time to the first page, memory while paging, an order and a search over everything.

    python -m benchmarks.view --groups 1000000 --directory runs/view

Writes the table (once), starts the command as a user does, and asks it over HTTP. Memory is that of the server.
"""

import argparse
import http.cookiejar
import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.manifest_file import has_manifest
from grao_pipeline.storage.writer import TableWriter

SAMPLES = 8
WORDS = 12
"""Of an answer; a token each."""


def write_tables(directory: Path, groups: int, per_part: int) -> tuple[str, str]:
    """Groups of eight answers and their scores."""
    places = str(directory / "groups"), str(directory / "scores")
    parts = -(-groups // per_part)
    writers = [
        TableWriter(places[0], Provenance("groups", "b" * 32, {}, {}), parts),
        TableWriter(places[1], Provenance("scores", "c" * 32, {"name": "length"}, {"groups": "b" * 32}), parts),
    ]
    for writer, make in zip(writers, (groups_part, scores_part), strict=True):
        if not has_manifest(writer.url):
            for index in writer.missing():
                first = index * per_part
                writer.write(index, make(first, min(first + per_part, groups)))
            writer.finish()
    return places


def groups_part(first: int, stop: int) -> pa.Table:
    """Groups whose texts are their numbers in words of a fixed vocabulary."""
    draw = np.random.default_rng(first)
    words = np.array([f"word{number}" for number in range(997)])
    rows = range(first, stop)
    answers = words[draw.integers(0, 997, (len(rows), SAMPLES, WORDS))]
    ids = draw.integers(0, 30000, (len(rows), SAMPLES, WORDS), dtype=np.int32)
    lists = np.arange(0, len(rows) * SAMPLES + 1, SAMPLES, dtype=np.int32)
    tokens = np.arange(0, len(rows) * SAMPLES * WORDS + 1, WORDS, dtype=np.int32)
    texts = [" ".join(answer) for group in answers for answer in group]

    def nested(values: np.ndarray) -> pa.Array:
        return pa.ListArray.from_arrays(lists, pa.ListArray.from_arrays(tokens, pa.array(values.reshape(-1))))

    columns: dict[str, Any] = {
        "group_id": [f"{row:032x}" for row in rows],
        "prompt_id": [f"{row:032x}" for row in rows],
        "messages": [[{"role": "user", "content": f"Question number {row}, in a few words?"}] for row in rows],
        "reference": [f"the answer number {row}" for row in rows],
        "metadata": ["{}"] * len(rows),
        "prompt_token_ids": [[1, 2, 3]] * len(rows),
        "reference_token_ids": [[4, 5, 2]] * len(rows),
        "completions": pa.ListArray.from_arrays(lists, pa.array(texts)),
        "completion_token_ids": nested(ids),
        "completion_logprobs": nested(np.full(ids.shape, -1.0, np.float32)),
        "finish_reasons": [["stop"] * SAMPLES] * len(rows),
        "policy": ["p" * 32] * len(rows),
        "round": [0] * len(rows),
    }
    schema = TABLES["groups"].arrow()
    return pa.table(
        [pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(len(rows), field.type)
         for field in schema],
        schema=schema,
    )  # fmt: skip


def scores_part(first: int, stop: int) -> pa.Table:
    """Random rewards."""
    rewards = np.random.default_rng(first).random((stop - first, SAMPLES), dtype=np.float32)
    rows = [
        {
            "group_id": f"{row:032x}",
            "rewards": rewards[row - first].tolist(),
            "reference_reward": 0.5,
            "statuses": ["ok"] * SAMPLES,
        }
        for row in range(first, stop)
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["scores"].arrow())


class Server:
    """`grao view` in another process, and a reader with its cookie."""

    def __init__(self, path: str) -> None:
        command = [sys.executable, "-m", "grao_pipeline", "view", path, "--json", "--quiet"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        address = json.loads(self.process.stdout.readline())["address"]
        self._base = address.partition("?")[0]
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self._opener.open(address).read()

    def ask(self, path: str, **values: object) -> Any:
        """The answer to a request."""
        return json.loads(self._opener.open(f"{self._base}api/{path}?{urllib.parse.urlencode(values)}").read())

    def cpu(self) -> float:
        """Its CPU seconds so far: on a busy machine they say more than the time."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Its resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def scan(self, **query: object) -> tuple[float, float, int]:
        """(seconds to the first hits, seconds to the end, hits) of a query."""
        start = time.perf_counter()
        first = None
        while True:
            answer = self.ask("page", limit=50, **query)
            now = time.perf_counter() - start
            if first is None and answer["matched"]:
                first = now
            if answer["scanned"] == 1:
                return first or now, now, answer["matched"]


def timed(run: Callable[[], Any]) -> float:
    """Seconds."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=1_000_000)
    parser.add_argument("--per-part", type=int, default=1000)
    parser.add_argument("--directory", type=Path, required=True)
    arguments = parser.parse_args()
    print(f"writing: {timed(lambda: write_tables(arguments.directory, arguments.groups, arguments.per_part)):.0f} s")
    start = time.perf_counter()
    server = Server(str(arguments.directory / "groups"))
    try:
        answers = time.perf_counter() - start
        name = server.ask("sets")["sets"][0]["key"]
        page = timed(lambda: server.ask("page", set=name, reward="length", offset=0, limit=100))
        group = timed(lambda: server.ask("group", set=name, at=0))
        cpu = f"{server.cpu():.2f} s of CPU so far"
        print(f"start: {answers:.2f} s; first page of 100 groups: {page:.2f} s; a group: {group:.2f} s; {cpu}")
        draw = np.random.default_rng(0)
        for number in range(5):
            places = draw.integers(0, arguments.groups - 100, 100)
            seconds = [
                timed(partial(server.ask, "page", set=name, reward="length", offset=int(place), limit=100))
                for place in places
            ]
            print(
                f"pages {100 * number:>3} to {100 * number + 99:>3}, anywhere: median {np.median(seconds):.3f} s, "
                f"memory {server.memory():.0f} MiB"
            )
        last = f"number {arguments.groups - 1},"
        queries: dict[str, dict[str, object]] = {
            "search of the last group": {"text": last},
            "search of a frequent word": {"text": "word123"},
            "order by spread": {"sort": "spread"},
        }
        for title, query in queries.items():
            before = server.cpu()
            first, end, hits = server.scan(set=name, reward="length", **query)
            used = f"{server.cpu() - before:.1f} s of CPU, memory {server.memory():.0f} MiB"
            print(f"{title}: first hits {first:.1f} s, all {end:.1f} s, {hits:,} hits, {used}")
    finally:
        server.process.terminate()
        server.process.wait()


if __name__ == "__main__":
    main()
