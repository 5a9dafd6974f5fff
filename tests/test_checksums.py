"""A checksum is remembered only for a file that is certainly unchanged."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from grao_pipeline.checksums import file_checksum


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "checksums"


def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was written long ago, by the clock that the module reads."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    return path


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_remembered_checksum_is_used_and_a_damaged_note_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    path = settled(tmp_path, monkeypatch)
    assert file_checksum(path, 1) == sha(b"before")
    [note] = cache.iterdir()
    path.read_bytes()
    note.write_text(note.read_text().replace(sha(b"before"), sha(b"other")))
    assert file_checksum(path, 1) == sha(b"before")


def test_another_content_of_the_same_size_and_mtime_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = settled(tmp_path, monkeypatch)
    state = path.stat()
    assert file_checksum(path, 1) == sha(b"before")
    time.sleep(0.02)  # the kernel's clock for files ticks every few milliseconds
    path.write_bytes(b"AFTER!")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file_checksum(path, 1) == sha(b"AFTER!")


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    assert file_checksum(path, 1) == sha(b"before")
    assert not cache.exists()


def test_without_a_cache_directory_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = settled(tmp_path, monkeypatch)
    monkeypatch.setenv("GRAO_CACHE", str(path / "no" / "place"))
    assert file_checksum(path, 1) == sha(b"before")
