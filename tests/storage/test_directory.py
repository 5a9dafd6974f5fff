"""`Directory`: the same behavior on a disk and on an object store; a file appears whole or not at all."""

import os
from pathlib import Path

import fsspec
import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.storage.directory import Directory


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "table") if request.param == "local" else f"memory://{tmp_path.name}/table"


def test_what_is_written_is_read_and_listed_in_order(url: str) -> None:
    directory = Directory(url)
    assert directory.names() == []
    assert not directory.exists("b")
    directory.write("b", b"12")
    directory.write("a", b"")
    directory.write("c", memoryview(b"345"))
    assert directory.names() == ["a", "b", "c"]
    assert {name: directory.read(name) for name in directory.names()} == {"a": b"", "b": b"12", "c": b"345"}
    assert directory.exists("b")


def test_a_second_write_replaces_the_whole_file(url: str) -> None:
    directory = Directory(url)
    directory.write("part", b"a long content")
    directory.write("part", b"short")
    assert directory.read("part") == b"short"
    assert directory.names() == ["part"]


def test_a_deleted_file_is_gone_and_subdirectories_are_not_listed(url: str) -> None:
    directory = Directory(url)
    directory.write("a", b"1")
    directory.write("b", b"2")
    Directory(f"{url}/inner").write("c", b"3")
    directory.delete("a")
    assert directory.names() == ["b"]
    assert not directory.exists("inner")


def test_only_the_temporary_files_of_killed_writers_are_removed(url: str) -> None:
    directory = Directory(url)
    for name in (".part-000000.parquet.4711.tmp", "notes.tmp", ".hidden", "part-000000.parquet"):
        directory.write(name, b"x")
    directory.remove_temporaries()
    assert directory.names() == [".hidden", "notes.tmp", "part-000000.parquet"]


def test_reading_a_missing_file_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError, match="table/absent"):
        Directory(url).read("absent")


def test_writing_to_an_unwritable_place_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am not a directory")
    with pytest.raises(InputError, match=r"Cannot write .*file/part"):
        Directory(str(tmp_path / "file")).write("part", b"x")


@pytest.mark.parametrize("url", ["nonsense://bucket/table", "memory2://x"])
def test_an_unknown_protocol_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError, match=f"Cannot open {url}"):
        Directory(url)


def test_several_spellings_name_the_same_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Directory("table/").write("part", b"1")
    for same in ("table", tmp_path / "table", f"file://{tmp_path}/table", f"{tmp_path}/table//"):
        assert Directory(same).read("part") == b"1"
    assert Directory("table//").path("part") == "table/part"


def test_special_characters_in_a_path_have_no_meaning(tmp_path: Path) -> None:
    url = str(tmp_path / "a b=c%20[1]*?#é")
    Directory(url).write("part", b"1")
    assert os.listdir(url) == ["part"]
    assert Directory(url).names() == ["part"]
    assert Directory(url).read("part") == b"1"


def test_the_root_of_a_store_is_a_directory() -> None:
    fsspec.filesystem("memory").pipe_file("/at-the-root-of-the-store", b"1")
    assert "at-the-root-of-the-store" in Directory("memory://").names()
    assert Directory("memory://").read("at-the-root-of-the-store") == b"1"
