"""Whole files or none, and nothing left of a write that failed."""

import os
from pathlib import Path

import pytest

from grao_pipeline.storage import atomic
from grao_pipeline.storage.atomic import MOST_FLUSHES, flush, write_atomically


def test_a_file_that_does_not_fit_leaves_nothing_and_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"before")

    def disk_is_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"after")
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"before"


def names_of_many(directory: Path) -> list[str]:
    """Files that were written without a flush, more than are flushed one by one."""
    names = [f"part-{number}" for number in range(MOST_FLUSHES + 1)]
    for name in names:
        write_atomically(directory / name, b"content", durable=False)
    return names


def test_many_files_are_flushed_with_their_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = names_of_many(tmp_path)
    flushed_one_by_one: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed_one_by_one.append)
    flush(tmp_path, names[1:])
    assert len(flushed_one_by_one) == MOST_FLUSHES + 1  # the directory, too
    flushed_one_by_one.clear()
    flush(tmp_path, names)
    assert flushed_one_by_one == []


def test_where_that_cannot_be_asked_for_they_are_flushed_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = names_of_many(tmp_path)
    flushed_one_by_one: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed_one_by_one.append)
    monkeypatch.setattr(atomic, "sync_file_system", lambda directory: False)
    flush(tmp_path, names)
    assert len(flushed_one_by_one) == len(names) + 1


def test_a_file_system_that_cannot_be_flushed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        flush(tmp_path / "gone", ["part"] * (MOST_FLUSHES + 1))
