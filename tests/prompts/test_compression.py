"""Sources in bounded memory: what expands without measure, or has no end of a line, is refused."""

import bz2
import gzip
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.progress import SILENT
from grao_pipeline.prompts.text_files import read_text_file

COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.fixture(scope="module", params=COMPRESS)
def bomb(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """A gigabyte of one letter: its compression and its bytes. A compressed file may follow another in one file."""
    return request.param, COMPRESS[request.param](b"x" * 2**22) * 256


def test_a_bomb_is_refused_in_little_memory(bomb: tuple[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / f"a.jsonl.{bomb[0]}"
    path.write_bytes(bomb[1])
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"a\.jsonl\.{bomb[0]}: it expands more than 500-fold"):
        list(read_text_file(path, SILENT))
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


def test_repeated_rows_compress_well_and_are_read(tmp_path: Path) -> None:
    row = {"question": "What is 2 + 2? " * 10, "answer": "4"}
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(row) + "\n").encode() * 2_000))
    assert list(read_text_file(path, SILENT)) == [row] * 2_000


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_line_without_end_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    with path.open("wb") as file:
        file.truncate(2**36)
    with pytest.raises(InputError, match=r"line 1: it is longer than 67108864 characters"):
        list(read_text_file(path, SILENT))


def test_a_pipe_is_not_waited_for() -> None:
    with pytest.raises(InputError, match="expected a file, found a device"):
        list(read_text_file(Path("/dev/zero"), SILENT))
