"""Reading our own tables: verified bytes, the right kind of table, companions that belong to their groups."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grao_pipeline.checksums import bytes_checksum
from grao_pipeline.errors import DamagedPart, InputError, MismatchError
from grao_pipeline.messages import plain_messages
from grao_pipeline.schemas import GROUPS, PROMPTS
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.frames import read_frame
from grao_pipeline.storage.manifest import PartEntry, Provenance
from grao_pipeline.storage.manifest_file import MANIFEST
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.writer import TableWriter
from tests import tiny

ROWS = [tiny.group_row(f"question {i}", ["a", "b"]) for i in range(6)]
SCORES = [
    {"group_id": row["group_id"], "rewards": [float(i), None], "statuses": ["ok", "error"]}
    for i, row in enumerate(ROWS)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Groups in parts of four and two."""
    return Path(tiny.write_table(tmp_path / "groups", "groups", ROWS, fingerprint="a" * 32))


def scores_table(path: Path, rows_per_part: int = 4, groups: str = "a" * 32) -> TableReader:
    return open_table(tiny.write_table(path, "scores", SCORES, rows_per_part, inputs={"groups": groups}))


def test_a_table_is_its_parts_in_order(path: Path) -> None:
    table = open_table(str(path), "groups")
    assert (table.num_parts, table.num_rows, table.fingerprint, table.foreign) == (2, 6, "a" * 32, False)
    assert table.url == str(path)
    whole = pa.Table.from_pylist(ROWS, schema=GROUPS.arrow())
    assert table.arrow().equals(whole)
    assert [part.num_rows for part in table.parts()] == [4, 2]
    assert pa.concat_tables(table.parts()).equals(whole)


def test_only_the_requested_columns_are_read_in_that_order(path: Path) -> None:
    table = open_table(str(path), "groups")
    whole = pa.Table.from_pylist(ROWS, schema=GROUPS.arrow())
    assert table.part(1, ["round", "group_id"]).equals(whole.slice(4).select(["round", "group_id"]))
    assert table.arrow(["policy"]).equals(whole.select(["policy"]))


def test_the_same_table_is_read_from_an_object_store(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/groups"
    writer = TableWriter(url, Provenance("groups", "a" * 32, {}, {}), 1)
    writer.write(0, pa.Table.from_pylist(ROWS, schema=GROUPS.arrow()))
    writer.finish()
    assert open_table(url, "groups").arrow() == pa.Table.from_pylist(ROWS, schema=GROUPS.arrow())


def flip(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 0x80]) + data[101:]


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (flip, "is damaged: its SHA-256 is not the one in .manifest.parquet"),
        (lambda data: data[:-1], "is damaged: its SHA-256 is not the one in .manifest.parquet"),
        (lambda data: data + b"\0", "is damaged: its SHA-256 is not the one in .manifest.parquet"),
        (lambda data: b"", "is damaged: its SHA-256 is not the one in .manifest.parquet"),
        (lambda data: None, "is missing"),
    ],
    ids=["flipped bit", "truncated", "longer", "empty", "deleted"],
)
def test_a_changed_part_is_reported_with_the_remedy(
    path: Path, harm: Callable[[bytes], bytes | None], problem: str
) -> None:
    victim = path / "part-000001.parquet"
    harmed = harm(victim.read_bytes())
    if harmed is None:
        victim.unlink()
    else:
        victim.write_bytes(harmed)
    table = open_table(str(path), "groups")
    assert table.part(0).num_rows == 4  # the others can still be used
    with pytest.raises(DamagedPart) as caught:
        table.part(1, ["group_id"])
    remedy = f"Run the command that wrote {path} again: it regenerates only this part."
    assert str(caught.value) == f"{victim} {problem}. {remedy}"
    with pytest.raises(DamagedPart):
        table.arrow()


def test_two_exchanged_parts_are_noticed(path: Path) -> None:
    one, two = path / "part-000000.parquet", path / "part-000001.parquet"
    content = one.read_bytes(), two.read_bytes()
    one.write_bytes(content[1])
    two.write_bytes(content[0])
    for index in (0, 1):
        with pytest.raises(DamagedPart, match=f"part-00000{index}"):
            open_table(str(path), "groups").part(index)


def test_a_missing_table_and_another_kind_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nowhere does not exist or holds no Parquet file; this needs a table of kind 'scores'"
    ):
        open_table(str(tmp_path / "nowhere"), "scores")
    (tmp_path / "rows.jsonl").write_text("{}")
    needed = r"rows\.jsonl is a file and no table; this needs a table of kind 'prompts', which grao prompts makes\."
    with pytest.raises(InputError, match=needed):
        open_table(str(tmp_path / "rows.jsonl"), "prompts")
    with pytest.raises(InputError, match="nowhere does not exist"):
        open_table(f"memory://{tmp_path.name}/nowhere", "scores")
    with pytest.raises(InputError, match=r"Cannot read .*nowhere\.parquet"):
        open_table(str(tmp_path / "nowhere.parquet"), "scores")
    with pytest.raises(
        MismatchError, match="groups is a directory of kind 'groups'; this needs a table of kind 'scores'"
    ):
        open_table(str(path), "scores")
    assert open_table(str(path)).schema is GROUPS


def test_a_damaged_manifest_is_reported_with_the_remedy(path: Path) -> None:
    (path / MANIFEST).write_text("{")
    with pytest.raises(
        InputError, match=r"groups/\.manifest\.parquet is damaged: .* Run the command that wrote the table again"
    ):
        open_table(str(path))


def test_scores_of_other_groups_are_refused_with_both_fingerprints(path: Path, tmp_path: Path) -> None:
    groups = open_table(str(path))
    scores_table(tmp_path / "right").refuse_other_groups(groups)
    with pytest.raises(MismatchError) as caught:
        scores_table(tmp_path / "other", groups="b" * 32).refuse_other_groups(groups)
    message = str(caught.value)
    assert f"other holds the scores of groups {'b' * 32} (parts: 2); {path} is {'a' * 32} (parts: 2)" in message
    with pytest.raises(MismatchError, match=r"\(parts: 3\)"):
        scores_table(tmp_path / "cut otherwise", rows_per_part=2).refuse_other_groups(groups)


def test_companion_rows_come_in_the_order_of_the_groups(path: Path, tmp_path: Path) -> None:
    scores = scores_table(tmp_path / "scores")
    ids = open_table(str(path)).part(1).column("group_id")
    aligned = scores.aligned_part(ids, 1, ["rewards"])
    assert aligned.column_names == ["group_id", "rewards"]
    assert aligned.column("rewards").to_pylist() == [[4.0, None], [5.0, None]]
    with pytest.raises(MismatchError, match=r"part-000000.parquet does not hold the groups of part 0"):
        scores.aligned_part(ids, 0)
    with pytest.raises(MismatchError, match="has 2 parts; the groups have more"):
        scores.aligned_part(ids, 2)
    with pytest.raises(MismatchError, match="was made from other groups"):
        scores.aligned_part(ids.take(pa.array([1, 0])), 1)


@pytest.mark.parametrize("bytes_at_once", [1, 1 << 20], ids=["each part alone", "all parts together"])
def test_frames_hold_the_rows_of_the_parts(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_at_once: int
) -> None:
    monkeypatch.setattr("grao_pipeline.storage.reader.BYTES_AT_ONCE", bytes_at_once)
    groups, scores = open_table(str(path)), scores_table(tmp_path / "scores")
    frame = groups.frame(range(2), ["group_id", "completions"])
    assert frame.to_dicts() == [{name: row[name] for name in ("group_id", "completions")} for row in ROWS]
    assert scores.aligned_frame(groups, frame["group_id"], range(2), ["rewards"]).to_dicts() == [
        {name: row[name] for name in ("group_id", "rewards")} for row in SCORES
    ]
    backwards = tiny.write_table(tmp_path / "other", "scores", SCORES[::-1], 4, inputs={"groups": "a" * 32})
    with pytest.raises(MismatchError, match=r"part-000000.parquet does not hold the groups of part 0"):
        open_table(backwards).aligned_frame(groups, frame["group_id"], range(2), ["rewards"])
    part = path / "part-000001.parquet"
    part.write_bytes(part.read_bytes().replace(b"question 5", b"question 6"))
    with pytest.raises(DamagedPart, match=r"part-000001.parquet is damaged"):
        groups.frame(range(2), ["group_id"])


def test_a_changed_digit_in_a_manifest_is_damage(path: Path) -> None:
    data = (path / MANIFEST).read_bytes()
    assert b'"rows": 2,' in data
    (path / MANIFEST).write_bytes(data.replace(b'"rows": 2,', b'"rows": 3,'))
    with pytest.raises(InputError, match=r"is damaged \(it is not the text that was written\)"):
        open_table(str(path))


def test_a_table_of_version_1_is_read_with_nulls_in_the_new_columns(tmp_path: Path) -> None:
    old = {"messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))}
    added = {"tools", "reference_reasoning"}
    schema = pa.schema([(c.name, old.get(c.name, c.type)) for c in PROMPTS.columns if c.name not in added])
    row = {"prompt_id": "q", "messages": [{"role": "user", "content": "hi"}], "reference": "y", "metadata": "{}"}
    provenance = {"table": "prompts", "fingerprint": "f", "options": {}, "inputs": {}, "details": {}, "versions": {}}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([row], schema=schema), sink)
    data = sink.getvalue().to_pybytes()
    name = "part-000000.parquet"
    part = {"name": name, "rows": 1, "bytes": len(data), "sha256": bytes_checksum(data)}
    (tmp_path / name).write_bytes(data)
    (tmp_path / "manifest.json").write_text(json.dumps({**provenance, "contract": 1, "rows": 1, "parts": [part]}))
    (read,) = open_table(str(tmp_path), "prompts").arrow().to_pylist()
    assert plain_messages(read["messages"]) == row["messages"]
    assert {name: read[name] for name in ("reference", *added)} == {"reference": "y", **dict.fromkeys(added)}


@pytest.fixture
def parts_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grao_pipeline.storage.frames.LARGE", 0)


def test_large_parts_that_polars_reads_itself_are_verified_too(path: Path, parts_are_large: None) -> None:
    table = open_table(str(path), "groups")
    columns = ["round", "group_id"]
    assert table.frame(range(2), columns).to_arrow().to_pylist() == table.arrow(columns).to_pylist()
    part = path / "part-000001.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(DamagedPart, match=r"part-000001\.parquet is damaged"):
        table.frame(range(2), columns)
    part.unlink()
    with pytest.raises(DamagedPart, match=r"part-000001\.parquet is missing"):
        table.frame(range(2), columns)


def test_a_part_that_changes_after_it_was_verified_is_not_used(path: Path, parts_are_large: None) -> None:
    entries = open_table(str(path), "groups").manifest.parts

    def verify(entry: PartEntry) -> None:
        place = path / entry.name
        place.write_bytes((path / "part-000000.parquet").read_bytes() if entry is entries[1] else place.read_bytes())

    with pytest.raises(DamagedPart, match=r"part-000000.parquet changed while it was read\. Run the command again\."):
        read_frame(Directory(path), entries, ["group_id"], lambda _: b"", verify)


def test_a_folder_with_the_signs_of_a_pattern_is_no_pattern(tmp_path: Path, parts_are_large: None) -> None:
    table = open_table(tiny.write_table(tmp_path / "a[1]*" / "round=1", "groups", ROWS), "groups")
    assert table.frame(range(2), ["group_id"]).height == 6
