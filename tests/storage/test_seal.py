"""A part proves its own bytes: before a manifest names it, and without a Parquet reader."""

import hashlib
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grao_pipeline.errors import DamagedPart
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.storage.manifest import Provenance, part_name
from grao_pipeline.storage.manifest_file import MANIFEST
from grao_pipeline.storage.seal import verify_seal
from grao_pipeline.storage.writer import TableWriter
from tests.storage.test_writer import NUM_PARTS, PROVENANCE, contents, part, write


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A table whose manifest is not written yet."""
    write(str(tmp_path / "table"))
    (tmp_path / "table" / MANIFEST).unlink()
    return tmp_path / "table"


def test_the_checksum_is_of_the_bytes_around_it_and_of_the_name(unfinished: Path) -> None:
    name = part_name(1)
    data = (unfinished / name).read_bytes()
    digest = pq.read_metadata(unfinished / name).metadata[b"grao_sha256"]
    before, _, after = data.partition(digest)
    assert hashlib.sha256(before + after + name.encode()).hexdigest().encode() == digest
    verify_seal(data, name, "here")
    with pytest.raises(DamagedPart):
        verify_seal(data, part_name(2), "here")


@pytest.mark.slow
def test_every_damage_of_an_unfinished_part_is_noticed(unfinished: Path) -> None:
    victim = unfinished / part_name(1)
    good, generator = victim.read_bytes(), random.Random(0)
    for position in sorted(generator.sample(range(len(good)), 60)):
        for harmed in (
            good[:position] + bytes([good[position] ^ 1 << generator.randrange(8)]) + good[position + 1 :],
            good[:position],
        ):
            victim.write_bytes(harmed)
            assert TableWriter(str(unfinished), PROVENANCE, NUM_PARTS).missing() == [1], position


@pytest.mark.parametrize("other", ["exchanged", "rewritten", "other columns"])
def test_whole_parquet_that_is_not_what_was_written_is_regenerated(unfinished: Path, other: str) -> None:
    before = contents(str(unfinished))
    table = pq.read_table(unfinished / part_name(1))
    if other == "exchanged":
        (unfinished / part_name(1)).write_bytes(before[part_name(2)])
    elif other == "rewritten":
        pq.write_table(table.slice(1), unfinished / part_name(1))
    else:
        pq.write_table(table.drop_columns(["rewards"]), unfinished / part_name(1))
    progress = RecordedProgress()
    assert TableWriter(str(unfinished), PROVENANCE, NUM_PARTS, progress).missing() == [1]
    assert progress.warnings == [f"{unfinished}/{part_name(1)} is damaged. It will be regenerated."]
    assert write(str(unfinished)) == [1]
    assert before.items() <= contents(str(unfinished)).items()


def test_finished_rows_of_an_unfinished_part_are_verified(tmp_path: Path) -> None:
    TableWriter(str(tmp_path), PROVENANCE, NUM_PARTS).save_unfinished(0, part(0))
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    unfinished_rows = TableWriter(str(tmp_path), PROVENANCE, NUM_PARTS).unfinished(0)
    assert unfinished_rows is not None
    assert unfinished_rows.equals(part(0))
    for position in range(0, len(good), 97):
        file.write_bytes(good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :])
        assert TableWriter(str(tmp_path), PROVENANCE, NUM_PARTS).unfinished(0) is None


def test_of_two_writers_the_first_part_stays_and_both_name_it(tmp_path: Path) -> None:
    """Sampling need not repeat itself: two runs of one command may have different rows for one part."""
    url = str(tmp_path / "table")
    one, two = (TableWriter(url, PROVENANCE, 1) for _ in range(2))
    one.write(0, part(0))
    first = contents(url)
    two.write(0, part(1))
    for writer in (one, two):
        writer.finish()
        assert contents(url)[part_name(0)] == first[part_name(0)]
        assert TableWriter(url, PROVENANCE, 1).was_complete


def test_a_damaged_part_is_replaced_though_its_file_exists(tmp_path: Path) -> None:
    writer = TableWriter(str(tmp_path), PROVENANCE, 1)
    (tmp_path / part_name(0)).write_bytes(b"PAR1 of somebody who was killed")
    writer.write(0, part(0))
    assert pq.read_table(tmp_path / part_name(0)).replace_schema_metadata(None).equals(part(0))


def test_little_memory_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from grao_pipeline.errors import StageFailure

    write(str(tmp_path))

    def no_memory(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(pq, "ParquetFile", no_memory)
    with pytest.raises(StageFailure, match=r"Too little memory to read .*part-000000.parquet \(malloc of size 64"):
        TableWriter(str(tmp_path), PROVENANCE, NUM_PARTS).read(0)


def test_a_foreign_version_is_refused_rather_than_called_damaged(tmp_path: Path) -> None:
    from grao_pipeline.errors import InputError

    metadata = {"grao": Provenance("scores", "f" * 32, {}, {}, contract=99).to_json()}
    pq.write_table(part(0).replace_schema_metadata(metadata), tmp_path / part_name(0))
    with pytest.raises(InputError, match="follows version 99"):
        TableWriter(str(tmp_path), PROVENANCE, NUM_PARTS)
