"""`TableWriter`: a part is committed once, repaired alone, and never mixed with parts of another fingerprint."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from grao_pipeline.checksums import bytes_checksum
from grao_pipeline.errors import InputError, MismatchError, SchemaError
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.schemas import SCORES
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest import Provenance, part_name
from grao_pipeline.storage.manifest_file import MANIFEST
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.writer import TableWriter
from tests import tiny
from tests.manifests import manifest_of

PROVENANCE = Provenance("scores", "f" * 32, {"reward": "gsm8k", "samples": 2}, {"groups": "a" * 32})
NUM_PARTS = 3


def part(index: int) -> pa.Table:
    rows = [
        {"group_id": f"g{index}-{row}", "rewards": [float(index), row / 3], "statuses": ["ok", "ok"]}
        for row in range(4)
    ]
    return pa.Table.from_pylist(rows, schema=SCORES.arrow())


def write(url: str, notices: list[str] | None = None, provenance: Provenance = PROVENANCE) -> list[int]:
    """Write the missing parts and finish, as a stage does. Returns the indices of the parts written."""
    writer = TableWriter(url, provenance, NUM_PARTS, RecordedProgress((notices if notices is not None else []).append))
    written = writer.missing()
    for index in written:
        writer.write(index, part(index))
    writer.finish()
    return written


def contents(url: str) -> dict[str, bytes]:
    directory = Directory(url)
    return {name: directory.read(name) for name in directory.names()}


def times(path: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in path.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A finished table of three parts."""
    write(str(tmp_path / "table"))
    return tmp_path / "table"


def test_a_finished_table_is_its_parts_and_a_manifest(path: Path) -> None:
    parts = [path / f"part-00000{index}.parquet" for index in range(3)]
    assert sorted(path.iterdir()) == [path / MANIFEST, *parts]
    assert manifest_of(path)["parts"] == [
        {"name": p.name, "rows": 4, "bytes": p.stat().st_size, "sha256": bytes_checksum(p.read_bytes())} for p in parts
    ]
    assert open_table(str(path)).arrow().equals(pa.concat_tables([part(index) for index in range(3)]))


def test_every_place_and_storage_gets_the_same_bytes(path: Path, tmp_path: Path) -> None:
    write(str(tmp_path / "again"))
    write(f"memory://{tmp_path.name}/again")
    assert contents(str(path)) == contents(str(tmp_path / "again")) == contents(f"memory://{tmp_path.name}/again")


def test_the_order_of_writing_does_not_change_a_byte(path: Path, tmp_path: Path) -> None:
    writer = TableWriter(str(tmp_path / "backwards"), PROVENANCE, NUM_PARTS)
    for index in reversed(writer.missing()):
        writer.write(index, part(index))
    writer.finish()
    assert contents(str(tmp_path / "backwards")) == contents(str(path))


def test_an_unfinished_table_is_refused_by_readers_and_resumed(path: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "unfinished")
    writer = TableWriter(url, PROVENANCE, NUM_PARTS)
    writer.write(1, part(1))
    with pytest.raises(InputError, match=r"unfinished is incomplete: it has parts \(1\) but no .manifest.parquet"):
        open_table(url, "scores")
    committed = times(tmp_path / "unfinished")
    again = TableWriter(url, PROVENANCE, NUM_PARTS)
    assert (again.missing(), again.num_committed, again.was_complete) == ([0, 2], 1, False)
    assert again.read(1).equals(part(1))
    assert again.read(1, ["rewards"]).column_names == ["rewards"]
    assert write(url) == [0, 2]
    assert contents(url) == contents(str(path))
    assert times(tmp_path / "unfinished")["part-000001.parquet"] == committed["part-000001.parquet"]


def test_no_manifest_is_written_while_a_part_is_missing(tmp_path: Path) -> None:
    writer = TableWriter(str(tmp_path), PROVENANCE, NUM_PARTS)
    writer.write(0, part(0))
    with pytest.raises(AssertionError, match="before every part"):
        writer.finish()
    assert not (tmp_path / MANIFEST).exists()


def test_a_finished_table_is_left_alone(path: Path) -> None:
    before = times(path)
    assert write(str(path)) == []
    assert times(path) == before


def test_resume_on_an_object_store_writes_only_missing_parts(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/resume"
    write(url)
    Directory(url).delete(part_name(2))
    Directory(url).delete(MANIFEST)
    assert write(url) == [2]
    assert write(url) == []


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x01]) + data[middle + 1 :]


def no_longer_json(data: bytes) -> bytes:
    return data.replace(b'"contract"', b'"contract?')


@pytest.mark.parametrize(
    "harm",
    [flip, no_longer_json, lambda data: data[:-7], lambda data: b"", lambda data: None],
    ids=["flipped bit", "metadata that is not JSON", "truncated", "empty", "deleted"],
)
def test_only_the_damaged_part_is_regenerated(path: Path, harm: Callable[[bytes], bytes | None]) -> None:
    before, intact = contents(str(path)), times(path)
    victim = path / "part-000001.parquet"
    harmed = harm(victim.read_bytes())
    assert harmed != before[victim.name]
    if harmed is None:
        victim.unlink()
    else:
        victim.write_bytes(harmed)
    notices: list[str] = []
    assert write(str(path), notices) == [1]
    assert notices == ([f"{victim} is damaged. It will be regenerated."] if harmed is not None else [])
    assert contents(str(path)) == before
    untouched = {"part-000000.parquet", "part-000002.parquet"}
    assert {name: times(path)[name] for name in untouched} == {name: intact[name] for name in untouched}


def test_a_truncated_part_of_an_unfinished_table_is_regenerated(path: Path) -> None:
    before = contents(str(path))
    (path / MANIFEST).unlink()
    (path / "part-000002.parquet").write_bytes(before["part-000002.parquet"][:500])
    assert write(str(path)) == [2]
    assert contents(str(path)) == before


@pytest.mark.parametrize("text", [b"", b"{", b"PAR1PAR1", b"\xff"])
def test_a_damaged_manifest_is_rebuilt_from_the_parts(path: Path, text: bytes) -> None:
    before, intact = contents(str(path)), times(path)
    (path / MANIFEST).write_bytes(text)
    notices: list[str] = []
    assert write(str(path), notices) == []
    assert len(notices) == 1
    assert ".manifest.parquet is damaged" in notices[0]
    assert contents(str(path)) == before
    intact.pop(MANIFEST)
    assert {name: time for name, time in times(path).items() if name != MANIFEST} == intact


def test_temporary_files_are_removed_when_the_table_is_finished(path: Path) -> None:
    (path / "part-000000.parquet").unlink()
    (path / ".part-000000.parquet.99999.tmp").write_bytes(b"half a part")
    write(str(path))
    assert sorted(times(path)) == [MANIFEST, *(part_name(index) for index in range(3))]


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("options", "inputs", "difference"),
    [
        ({"reward": "regex", "samples": 2}, {"groups": "a" * 32}, "reward was 'gsm8k' and is now 'regex'"),
        ({"reward": "gsm8k"}, {"groups": "a" * 32}, "samples was 2 and is now None"),
        ({"reward": "gsm8k", "samples": 2}, {"groups": "b"}, f"input groups was '{'a' * 32}' and is now 'b'"),
        ({"reward": "gsm8k", "samples": 2}, {"groups": "a" * 32}, "the options differ"),
    ],
)
def test_another_fingerprint_is_refused_with_the_differences(
    path: Path, options: dict[str, Any], inputs: dict[str, Any], difference: str, finished: bool
) -> None:
    if not finished:
        (path / MANIFEST).unlink()
    before = contents(str(path))
    with pytest.raises(MismatchError) as caught:
        write(str(path), provenance=Provenance("scores", "e" * 32, options, inputs))
    assert "f" * 32 in str(caught.value)
    assert "e" * 32 in str(caught.value)
    assert difference in str(caught.value)
    assert contents(str(path)) == before


def test_the_message_in_the_faq_is_what_another_option_gets(tmp_path: Path) -> None:
    faq = (Path(__file__).parents[2] / "docs" / "faq.md").read_text()
    quote = re.search(r"(is of another run: [^\"]+)\.\"", faq)
    out = str(tmp_path / "table")
    write(out, provenance=Provenance("scores", "f" * 32, {"max_new_tokens": 40}, {}))
    with pytest.raises(MismatchError) as caught:
        write(out, provenance=Provenance("scores", "e" * 32, {"max_new_tokens": 48}, {}))
    assert quote
    assert quote[1] in str(caught.value)


@pytest.mark.parametrize("finished", [True, False])
def test_the_directory_of_another_table_is_refused(path: Path, finished: bool) -> None:
    if not finished:
        (path / MANIFEST).unlink()
    with pytest.raises(
        MismatchError, match="holds a table of kind 'scores'; this command would write one of kind 'advantages'"
    ):
        TableWriter(str(path), Provenance("advantages", "f" * 32, {}, {}), NUM_PARTS)


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json", "metrics.json"])
def test_the_directory_of_another_output_is_refused(name: str, tmp_path: Path) -> None:
    """A model with a table in it would be taken for a table."""
    (tmp_path / name).write_text("{}")
    what = {"config.json": "a model", "adapter_config.json": "an adapter", "metrics.json": "an evaluation"}[name]
    with pytest.raises(
        MismatchError, match=rf"{tmp_path} holds {what} \({name}\)\. Choose another directory for the t"
    ):
        TableWriter(str(tmp_path), PROVENANCE, 1)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_directory_with_foreign_parquet_is_refused(tmp_path: Path) -> None:
    import polars as pl

    pl.DataFrame({"group_id": ["a"]}).write_parquet(tmp_path / "mine.parquet")
    with pytest.raises(MismatchError, match=r"mine.parquet was not written by this program. Choose an empty directory"):
        TableWriter(str(tmp_path), PROVENANCE, NUM_PARTS)


def test_a_table_that_breaks_the_contract_leaves_no_part(tmp_path: Path) -> None:
    writer = TableWriter(str(tmp_path / "table"), PROVENANCE, NUM_PARTS)
    with pytest.raises(SchemaError, match=r"part-000002.parquet lacks column 'statuses'"):
        writer.write(2, part(2).drop_columns(["statuses"]))
    assert writer.missing() == [0, 1, 2]
    assert not (tmp_path / "table").exists()


def test_parts_that_are_written_together_are_those_written_one_by_one(path: Path, tmp_path: Path) -> None:
    writer = TableWriter(str(tmp_path / "together"), PROVENANCE, NUM_PARTS)
    rows = pa.concat_tables([part(index) for index in range(NUM_PARTS)])
    writer.write_parts(range(NUM_PARTS), [4] * NUM_PARTS, rows, only=[0, 2])
    assert writer.missing() == [1]
    writer.write_parts([1], [4], part(1), only=[1])
    writer.finish()
    assert contents(str(tmp_path / "together")) == contents(str(path))


def test_of_parts_that_are_written_together_the_wrong_one_is_named(tmp_path: Path) -> None:
    writer = TableWriter(str(tmp_path / "table"), PROVENANCE, NUM_PARTS)
    wrong = part(1).set_column(1, "rewards", pa.array([[1.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]))
    with pytest.raises(
        SchemaError, match=r"part-000001.parquet: row 0 has 2 elements in 'statuses' but 1 in 'rewards'"
    ):
        writer.write_parts([0, 1], [4, 4], pa.concat_tables([part(0), wrong.cast(part(0).schema)]), only=[0, 1])
    assert not (tmp_path / "table").exists()


def test_a_table_without_parts_is_complete_and_empty(tmp_path: Path) -> None:
    TableWriter(str(tmp_path), PROVENANCE, 0).finish()
    table = open_table(str(tmp_path), "scores")
    assert (table.num_parts, table.num_rows) == (0, 0)
    assert table.arrow().equals(SCORES.arrow().empty_table())
    assert table.arrow(["rewards"]).column_names == ["rewards"]
    assert TableWriter(str(tmp_path), PROVENANCE, 0).was_complete


def test_parts_of_regenerated_groups_are_discarded(tmp_path: Path) -> None:
    """Sampling need not repeat the same tokens: a regenerated part of groups has other IDs and the same fingerprint."""
    rows = [tiny.group_row(f"question {i}", ["a", "b"]) for i in range(8)]
    groups = tiny.write_table(tmp_path / "groups", "groups", rows, fingerprint="a" * 32)

    def scores_of(index: int) -> pa.Table:
        ids = open_table(groups).part(index, ["group_id"]).column("group_id").to_pylist()
        score_rows = [{"group_id": group_id, "rewards": [0.0, 1.0], "statuses": ["ok", "ok"]} for group_id in ids]
        return pa.Table.from_pylist(score_rows, schema=SCORES.arrow())

    def score() -> tuple[list[int], list[str]]:
        notices: list[str] = []
        writer = TableWriter(str(tmp_path / "scores"), PROVENANCE, 2, RecordedProgress(notices.append))
        writer.discard_changed_parts(open_table(groups))
        written = writer.missing()
        for index in written:
            writer.write(index, scores_of(index))
        writer.finish()
        return written, notices

    assert score() == ([0, 1], [])
    assert score() == ([], [])
    rows[5] = tiny.group_row("question 5", ["a", "b"], token_ids=[[8, 8, 2], [9, 9, 2]])
    (tmp_path / "groups" / part_name(1)).unlink()
    tiny.write_table(tmp_path / "groups", "groups", rows, fingerprint="a" * 32)
    written, notices = score()
    assert written == [1]
    changed = f"{tmp_path}/scores/part-000001.parquet"
    assert notices == [f"{changed} does not hold the groups that {groups} holds now. It will be regenerated."]
    assert open_table(str(tmp_path / "scores")).part(1).equals(scores_of(1))
    assert score() == ([], [])
