"""When the parts of a table are flushed to disk: together, and before the manifest that names them."""

import os
from pathlib import Path

import pytest

from grao_pipeline.storage.delayed_flush import DelayedFlush
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import part_name
from grao_pipeline.storage.manifest_file import MANIFEST
from grao_pipeline.storage.writer import TableWriter
from tests.storage.test_writer import NUM_PARTS, PROVENANCE, part


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files and directories that were flushed, temporary files without their random letters."""
    names: list[str] = []
    flush = os.fsync

    def recorded(descriptor: int) -> None:
        names.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    return names


def test_every_part_is_on_disk_before_the_manifest_names_it(tmp_path: Path, flushed: list[str]) -> None:
    writer = TableWriter(str(tmp_path / "table"), PROVENANCE, NUM_PARTS)
    for index in range(NUM_PARTS):
        writer.write(index, part(index))
    writer.finish()
    names = {part_name(index) for index in range(NUM_PARTS)}
    assert set(flushed[:NUM_PARTS]) == names
    assert flushed[NUM_PARTS] == "table"
    assert flushed[NUM_PARTS + 1].startswith(f".{MANIFEST}.")
    assert len(flushed) == NUM_PARTS + 2


def test_parts_of_an_earlier_run_are_flushed_too(tmp_path: Path, flushed: list[str]) -> None:
    """That run may have been killed before it flushed them."""
    TableWriter(str(tmp_path), PROVENANCE, NUM_PARTS).write(1, part(1))
    assert flushed == []
    writer = TableWriter(str(tmp_path), PROVENANCE, NUM_PARTS)
    for index in writer.missing():
        writer.write(index, part(index))
    writer.finish()
    assert {part_name(index) for index in range(NUM_PARTS)} < set(flushed)


def test_files_wait_for_a_second_and_are_flushed_once(tmp_path: Path, flushed: list[str]) -> None:
    now = 100.0
    directory = Directory(tmp_path)
    waiting = DelayedFlush(directory, clock=lambda: now)

    def write(name: str) -> None:
        directory.write(name, b"content", durable=False)
        waiting.add(name)

    write("a")
    now = 100.9
    write("b")
    assert flushed == []
    now = 101.1
    write("c")
    assert set(flushed[:3]) == {"a", "b", "c"}
    flushed.clear()
    write("d")
    waiting.flush(["a", "b", "c", "d"])
    assert flushed == ["d", tmp_path.name]


def test_a_part_that_lost_power_cut_to_nothing_is_regenerated(tmp_path: Path) -> None:
    """A file system may keep the name of a file whose content never reached the disk."""
    writer = TableWriter(str(tmp_path), PROVENANCE, NUM_PARTS)
    writer.write(0, part(0))
    writer.write(1, part(1))
    (tmp_path / part_name(1)).write_bytes(b"")
    assert TableWriter(str(tmp_path), PROVENANCE, NUM_PARTS).missing() == [1, 2]
