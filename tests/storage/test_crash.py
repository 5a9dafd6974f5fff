"""A writer that is killed at any moment leaves whole parts only, and the next run completes the same table."""

import random
import time
from pathlib import Path

import pyarrow as pa
import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.schemas import SCORES
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.manifest_file import MANIFEST
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.writer import TableWriter
from tests.commands import forked

NUM_PARTS = 150
KILLS = 6


def write_in_many_parts(url: str) -> None:
    writer = TableWriter(url, Provenance("scores", "f" * 32, {}, {}), NUM_PARTS)
    for index in writer.missing():
        generator = random.Random(index)
        rows = [
            {"group_id": f"{index}-{row}", "rewards": [generator.random() for _ in range(8)], "statuses": ["ok"] * 8}
            for row in range(200)
        ]
        writer.write(index, pa.Table.from_pylist(rows, schema=SCORES.arrow()))
    writer.finish()


def parts(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.glob("part-*.parquet")}


@pytest.mark.slow
def test_a_writer_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    write_in_many_parts(str(tmp_path / "undisturbed"))
    expected = parts(tmp_path / "undisturbed")
    generator, path, progress = random.Random(0), tmp_path / "killed", 0
    for _ in range(KILLS):
        process = forked(write_in_many_parts, str(path))
        while len(list(path.glob("part-*.parquet"))) <= progress and process.is_alive():
            time.sleep(0.005)
        until = time.monotonic() + generator.uniform(0.0, 0.03)
        while time.monotonic() < until:
            assert parts(path).items() <= expected.items()
        process.kill()
        process.join()
        committed = parts(path)
        assert committed.items() <= expected.items()
        assert len(committed) > progress
        progress = len(committed)
        assert not (path / MANIFEST).exists()
        with pytest.raises(InputError, match=rf"is incomplete: it has parts \({progress}\)"):
            open_table(str(path), "scores")
    assert progress >= KILLS
    write_in_many_parts(str(path))
    assert parts(path) == expected
    assert (path / MANIFEST).read_bytes() == (tmp_path / "undisturbed" / MANIFEST).read_bytes()
    assert len(list(path.iterdir())) == NUM_PARTS + 1  # nothing else is left
