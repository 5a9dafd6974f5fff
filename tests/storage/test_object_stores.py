"""Tables on a real S3 API that refuses, fails, delays, cuts off and corrupts: whole, or an error that names the URL."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import fsspec
import pytest

from grao_pipeline.errors import DamagedPart, InputError
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.storage import outside_errors
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import part_name
from grao_pipeline.storage.parquet import decode
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.writer import TableWriter
from tests.s3_server import ENVIRONMENT, FaultProxy, always, fault_proxy, s3_server, sometimes
from tests.storage.test_writer import PROVENANCE, contents, part, write

pytest.importorskip("moto")
pytest.importorskip("s3fs")


@pytest.fixture(scope="module")
def running() -> Iterator[FaultProxy]:
    with s3_server("bucket") as server, fault_proxy(server) as proxy:
        yield proxy


@pytest.fixture
def proxy(running: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> FaultProxy:
    """A proxy that passes everything on until its policy is set; `s3://` leads to it. The driver's attempts are its own
    business and are switched off, as far as they can be."""
    monkeypatch.setattr(outside_errors, "PAUSES", (0.01, 0.01))
    options = {"endpoint_url": running.url, "config_kwargs": {"retries": {"max_attempts": 0}}}
    monkeypatch.setitem(fsspec.config.conf, "s3", options)
    running.reset()
    return running


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"s3://bucket/{tmp_path.name}/table"


@pytest.mark.slow
def test_a_table_has_the_same_bytes_as_on_a_disk_and_is_resumed(proxy: FaultProxy, url: str, tmp_path: Path) -> None:
    write(str(tmp_path / "table"))
    assert write(url) == [0, 1, 2]
    assert contents(url) == contents(str(tmp_path / "table"))
    Directory(url).delete(part_name(1))
    proxy.requests.clear()
    assert write(url) == [1]
    keys = [path.rpartition("/")[2].partition("?")[0] for method, path in proxy.requests if method == "PUT"]
    assert [key for key in keys if key.startswith("part")] == [part_name(1)]
    assert open_table(url, "scores").num_rows == 12


@pytest.mark.slow
def test_of_two_writers_the_first_part_stays(proxy: FaultProxy, url: str) -> None:
    one, two = (TableWriter(url, PROVENANCE, 1) for _ in range(2))
    one.write(0, part(0))
    first = Directory(url).read(part_name(0))
    two.write(0, part(1))
    assert Directory(url).read(part_name(0)) == first
    assert (one.finish(), two.finish()) == ([], [])
    assert open_table(url).arrow().equals(part(0))


@pytest.mark.slow
def test_of_racing_writers_the_store_itself_keeps_the_first(proxy: FaultProxy, url: str) -> None:
    """Every one of them asked whether the part is there before any had written it."""
    writers = [TableWriter(url, PROVENANCE, 1) for _ in range(6)]
    begin = Barrier(len(writers))

    def write_other_rows(index: int) -> None:
        begin.wait()
        writers[index].write(0, part(index))

    with ThreadPoolExecutor(len(writers)) as pool:
        list(pool.map(write_other_rows, range(len(writers))))
    puts = [path for method, path in proxy.requests if method == "PUT" and part_name(0) in path]
    assert puts == [path for path in proxy.conditional if part_name(0) in path]
    assert len(puts) > 1
    kept_rows = decode(Directory(url).read(part_name(0)), url)
    assert [kept_rows.equals(part(index)) for index in range(len(writers))].count(True) == 1
    assert writers[0].finish() == []
    assert open_table(url).arrow().equals(kept_rows)


@pytest.mark.slow
def test_a_damaged_object_is_replaced(proxy: FaultProxy, url: str, tmp_path: Path) -> None:
    write(url)
    before = contents(url)
    Directory(url).write(part_name(2), b"PAR1" + bytes(100) + b"PAR1")
    assert write(url) == [2]
    assert contents(url) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "advice"),
    [("403", "Check the credentials"), ("401", "Log in again|Check the credentials"), ("404", "Create the bucket")],
)
def test_a_refusal_names_the_url_and_what_to_do_and_no_secret(
    proxy: FaultProxy, url: str, fault: str, advice: str
) -> None:
    proxy.policy = always(fault)
    with pytest.raises(InputError, match=f"Cannot (write|list|read) {url}.*({advice})") as caught:
        write(url)
    assert ENVIRONMENT["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)
    assert len(proxy.faults) <= 6  # one for each question: asking again does not help


@pytest.mark.slow
def test_a_bucket_that_does_not_exist_is_not_created(proxy: FaultProxy) -> None:
    with pytest.raises(InputError, match=r"nowhere/table: the bucket does not exist\. Create the bucket"):
        write("s3://nowhere/table")
    assert not fsspec.filesystem("s3").exists("s3://nowhere")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["403", "500"])
def test_an_answer_that_is_no_answer_does_not_mean_absence(proxy: FaultProxy, url: str, fault: str) -> None:
    write(url)
    proxy.policy = always(fault, "HEAD")
    for attempt in (
        lambda: open_table(url),
        lambda: TableWriter(url, PROVENANCE, 3),
        lambda: Directory(url).exists("x"),
    ):
        with pytest.raises(InputError, match=f"Cannot read {url}"):
            attempt()


def test_an_unreachable_store_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    options = {"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 0}}}
    monkeypatch.setitem(fsspec.config.conf, "s3", {**options, "key": "someone", "secret": "something"})
    with pytest.raises(InputError, match=f"Cannot read {url}.*Check the network and the endpoint"):
        open_table(url)


@pytest.mark.slow
def test_a_store_with_trouble_is_asked_again_which_is_said(proxy: FaultProxy, url: str) -> None:
    failing = iter(["500", "503"])
    proxy.policy = lambda method, path: next(failing, None) if method == "PUT" else None
    progress = RecordedProgress()
    Directory(url, progress).write("x", b"1")
    assert Directory(url).read("x") == b"1"
    assert proxy.faults == ["500", "503"]
    assert all(f"Cannot write {url}/x" in warning and "trying again" in warning for warning in progress.warnings)
    proxy.policy = always("500")
    with pytest.raises(InputError, match="The store has trouble: run the same command again; it resumes"):
        Directory(url).read("x")


@pytest.mark.slow
def test_an_answer_that_is_lost_after_the_write_doubles_and_loses_nothing(
    proxy: FaultProxy, url: str, tmp_path: Path
) -> None:
    write(str(tmp_path / "table"))
    lost = iter(["lost"] * 3)
    proxy.policy = lambda method, path: next(lost, None) if method == "PUT" and "part-" in path else None
    assert write(url) == [0, 1, 2]
    assert contents(url) == contents(str(tmp_path / "table"))


@pytest.mark.slow
def test_a_table_is_whole_or_refused_whatever_the_network_does(proxy: FaultProxy, url: str, tmp_path: Path) -> None:
    write(str(tmp_path / "table"))
    expected = contents(str(tmp_path / "table"))
    proxy.policy = sometimes(("500", "503", "lost", "truncated", "flipped"), 0.15, random.Random(3))
    refusals = []
    for _ in range(6):
        try:
            write(url)
        except InputError as error:
            refusals.append(str(error))
    assert [text for text in refusals if url not in text] == []
    proxy.reset()
    write(url)
    assert contents(url) == expected


@pytest.mark.slow
def test_a_flipped_byte_on_the_way_is_read_again_and_one_in_the_store_is_damage(proxy: FaultProxy, url: str) -> None:
    write(url)
    table = open_table(url)
    flipped = iter(["flipped"])
    proxy.policy = lambda method, path: next(flipped, None) if method == "GET" and "part-" in path else None
    assert table.part(0).equals(part(0))
    assert proxy.faults == ["flipped"]
    proxy.policy = always("flipped", "GET")
    with pytest.raises(InputError, match=f"Cannot read {url}/part-000000.parquet: Expected checksum"):
        table.part(0)
    proxy.reset()
    Directory(url).write(part_name(0), b"other bytes")
    with pytest.raises(DamagedPart, match=f"{url}/part-000000.parquet is damaged"):
        table.part(0)
