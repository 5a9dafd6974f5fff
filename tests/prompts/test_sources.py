"""Sources: the same rows from every kind of file; every error names its file, line, column or split."""

import bz2
import csv
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.progress import SILENT, Progress, RecordedProgress
from grao_pipeline.prompts import directories
from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.prompts.sources import open_source
from grao_pipeline.storage.reader import open_table

# Text that guessing types would damage (dates, numbers with leading zeros, "NA"), or splitting lines too often.
ROWS: list[dict[str, Any]] = [
    {"question": "When?", "answer": "2020-01-01", "note": "007"},
    {"question": "When, then?\nSay.", "answer": "2020-01-02", "note": "NA"},
    {"question": 'A "quoted"\u2028one, with commas', "answer": "2020-01-03", "note": None},
]


def read_rows(source: str, split: str, subset: str | None, progress: Progress) -> list[dict[str, Any]]:
    with open_source(source, split, subset, progress) as opened:
        return list(opened.rows)


def write_json_lines(path: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json_list(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=1))


def write_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(ROWS)


def write_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


def write_arrow(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def write_compressed(opener: Callable[[Path, str], Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with opener(path, "wt") as file:
            file.writelines(json.dumps(row) + "\r\n" for row in ROWS)

    return write


def write_directory(path: Path) -> None:
    path.mkdir()
    (path / "README.md").write_text("not data")
    write_json_lines(path / "train-00000.jsonl", ROWS[:1])
    write_json_lines(path / "train-00001.jsonl", ROWS[1:])
    write_json_lines(path / "test.jsonl", [{"question": "other", "answer": "split"}])


def write_parquet_directory(path: Path) -> None:
    (path / "train").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS[:2]), path / "train" / "a.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS[2:], pa.Table.from_pylist(ROWS).schema), path / "train" / "b.parquet")


def prompt_ids(source: Path, out: Path, **options: Any) -> list[str]:
    build_prompts(str(source), str(out), PromptsOptions(**options))
    return [str(value) for value in open_table(str(out), "prompts").arrow().column("prompt_id").to_pylist()]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.jsonl.gz", write_compressed(gzip.open)),
        ("rows.jsonl.bz2", write_compressed(bz2.open)),
        ("rows.ndjson.xz", write_compressed(lzma.open)),
        ("rows.json", write_json_list),
        ("lines.json", write_json_lines),
        ("rows.csv", write_csv),
        ("rows.tsv", write_csv),
        ("rows.parquet", write_parquet),
        ("rows.arrow", write_arrow),
        ("directory", write_directory),
        ("json", write_parquet_directory),  # the name of one of the loaders of `datasets`
    ],
)
def test_the_same_rows_give_the_same_prompts_from_every_kind_of_file(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write_json_lines(tmp_path / "plain.jsonl")
    write(tmp_path / name)
    expected = prompt_ids(tmp_path / "plain.jsonl", tmp_path / "expected")
    assert len(expected) == len(ROWS)
    assert prompt_ids(tmp_path / name, tmp_path / "actual") == expected
    # The same rows have the same fingerprint.
    tables = [open_table(str(tmp_path / out), "prompts") for out in ("expected", "actual")]
    assert tables[0].fingerprint == tables[1].fingerprint


def test_text_is_read_unchanged(tmp_path: Path) -> None:
    for name, write in (("a.jsonl", write_json_lines), ("a.csv", write_csv)):
        write(tmp_path / name)
        assert (read_rows(str(tmp_path / name), "train", None, SILENT)) == ROWS


def test_a_row_does_not_depend_on_the_columns_of_other_rows(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "alone.jsonl", [{"prompt": "a", "level": 1}])
    write_json_lines(tmp_path / "among.jsonl", [{"prompt": "a", "level": 1}, {"prompt": "b", "level": 1.5, "extra": 2}])
    pq.write_table(
        pa.table({"prompt": ["a", "b"], "level": [1.0, 1.5], "extra": [None, 2]}), tmp_path / "among.parquet"
    )
    alone = prompt_ids(tmp_path / "alone.jsonl", tmp_path / "alone")
    assert prompt_ids(tmp_path / "among.jsonl", tmp_path / "lines")[:1] == alone
    assert prompt_ids(tmp_path / "among.parquet", tmp_path / "parquet")[:1] == alone


def test_columns_of_bytes_are_ignored_with_a_warning(tmp_path: Path) -> None:
    image = {"bytes": b"\x89PNG", "path": "a.png"}
    pq.write_table(pa.table({"prompt": ["a"], "image": [image], "level": [2]}), tmp_path / "a.parquet")
    progress = RecordedProgress()
    rows = read_rows(str(tmp_path / "a.parquet"), "train", None, progress)
    assert rows == [{"prompt": "a", "level": 2}]
    assert progress.warnings == ["Ignoring columns of binary data: image."]


def test_a_split_of_a_directory_is_the_file_with_that_name(tmp_path: Path) -> None:
    write_directory(tmp_path / "d")
    assert [row["question"] for row in read_rows(str(tmp_path / "d"), "test", None, SILENT)] == ["other"]


def test_a_hub_dataset_is_loaded_by_id_subset_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def load_dataset(*args: Any, **kwargs: Any) -> datasets.Dataset:
        calls.append((args, kwargs))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    write_json_lines(tmp_path / "plain.jsonl")
    build_prompts("openai/gsm8k", str(tmp_path / "hub"), PromptsOptions(subset="main", split="test[:3]"))
    build_prompts("openai/gsm8k@v1", str(tmp_path / "hub"), PromptsOptions(subset="main", split="test[:3]"))
    of_branch = PromptsOptions(subset="main", split="test[:3]", revision="refs/pr/1")
    build_prompts("openai/gsm8k", str(tmp_path / "hub"), of_branch)
    revisions = [None, "v1", "refs/pr/1"]
    assert calls == [(("openai/gsm8k", "main"), {"split": "test[:3]", "revision": one}) for one in revisions]
    with pytest.raises(UsageError, match="only such a one has revisions"):
        build_prompts(str(tmp_path / "plain.jsonl"), str(tmp_path / "other"), of_branch)
    expected = prompt_ids(tmp_path / "plain.jsonl", tmp_path / "plain")
    assert open_table(str(tmp_path / "hub")).arrow().column("prompt_id").to_pylist() == expected


def test_an_unreachable_hub_is_an_input_error_without_logs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"dataset 'nobody/nothing'.*no local file.*Couldn't reach"):
        (read_rows("nobody/nothing", "train", None, SILENT))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_json_is_read_without_the_package_datasets(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "a.jsonl")
    script = (
        "import sys; sys.modules['datasets'] = None\n"
        "from grao_pipeline.prompts.build import build_prompts\n"
        "from grao_pipeline.prompts.options import PromptsOptions\n"
        "print(build_prompts(sys.argv[1], sys.argv[2], PromptsOptions()).kept)"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "a.jsonl"), str(tmp_path / "out")]
    root = Path(__file__).parents[2]
    assert subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=True).stdout == "3\n"


def test_reading_leaves_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    write_parquet(tmp_path / "a.parquet")
    build_prompts(str(tmp_path / "a.parquet"), str(tmp_path / "out"), PromptsOptions(limit=1))
    assert list(temporary.iterdir()) == []


BROKEN: list[tuple[str, bytes, list[str]]] = [
    ("a.jsonl", b'{"prompt": "a"}\n\n{"prompt": "b"\n', ["a.jsonl, line 3", "not valid JSON", '{"prompt": "b"']),
    ("a.jsonl", b'{"prompt": "a"}\n[1]\n', ["a.jsonl, line 2", "JSON object", "list"]),
    ("a.jsonl", b'{"prompt": ' + b"1" * 5000 + b"}\n", ["a.jsonl, line 1", "not valid JSON"]),
    ("a.json", b'[{"prompt": "a"},\n {"prompt": }]', ["a.json, line 2", "not valid JSON"]),
    ("a.json", b'[{"prompt": "a"}, 3]', ["a.json, element 1", "int"]),
    ("a.json", b'{"prompt": "a"}\n{"prompt": \n', ["a.json, line 2", "not valid JSON"]),
    ("a.csv", b"prompt,completion\na,b\nc\n", ["a.csv, line 3", "1 cells", "2"]),
    ("a.csv", b'prompt,completion\na,"b\n', ["a.csv, line 2", "not valid CSV"]),
    ("a.csv", b"prompt,prompt\na,b\n", ["a.csv", "same name"]),
    ("a.jsonl", b'{"prompt": "\xff"}\n', ["a.jsonl", "UTF-8"]),
    ("a.jsonl.gz", b"not gzip", ["Cannot read", "a.jsonl.gz"]),
    ("a.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 99, mtime=0)[:40], ["Cannot read", "a.jsonl.gz"]),
    ("a.parquet", b"PAR1 nonsense", ["Cannot load", "a.parquet"]),
    ("a.txt", b"hello", ["a.txt", "unknown ending", ".jsonl"]),
    ("a.jsonl", b"", ["a.jsonl has no rows"]),
    ("a.json", b"[]", ["a.json has no rows"]),
    ("a.csv", b"prompt\n", ["a.csv has no rows"]),
]


@pytest.mark.parametrize(("name", "content", "fragments"), BROKEN)
def test_a_broken_file_is_named_with_the_position(
    tmp_path: Path, name: str, content: bytes, fragments: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        build_prompts(str(tmp_path / name), str(tmp_path / "out"), PromptsOptions())
    for fragment in fragments:
        assert fragment in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_file_without_read_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json_lines(tmp_path / "a.jsonl")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match=r"Cannot read .*a\.jsonl: Permission denied"):
        (read_rows(str(tmp_path / "a.jsonl"), "train", None, SILENT))


@pytest.mark.parametrize(
    "source", ["./nothing", "/no/where", "~/nothing", "a/b/c", "nothing.jsonl", "x/nothing.csv.gz"]
)
def test_a_path_that_does_not_exist_is_named(source: str) -> None:
    with pytest.raises(InputError, match=f"{source}: no such file or directory"):
        read_rows(source, "train", None, SILENT)


@pytest.mark.parametrize(("make", "known"), [(write_directory, "train, test"), (write_json_lines, "train")])
def test_an_unknown_split_is_refused_with_the_known_ones(
    tmp_path: Path, make: Callable[[Path], None], known: str
) -> None:
    make(tmp_path / "rows.jsonl")
    with pytest.raises(InputError, match=rf"rows\.jsonl has no split 'validation'. It has: {known}\.$"):
        read_rows(str(tmp_path / "rows.jsonl"), "validation", None, SILENT)


def test_an_unknown_split_of_a_hub_dataset_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise ValueError("Unknown split \"dev\". Should be one of ['train', 'test'].")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(InputError, match=r"'openai/gsm8k'.*Unknown split \"dev\".*'train', 'test'"):
        (read_rows("openai/gsm8k", "dev", "main", SILENT))


def test_a_directory_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        read_rows(str(tmp_path / "empty"), "train", None, SILENT)


def test_a_directory_of_too_many_files_is_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where somebody names the home directory. Hidden folders are not looked into."""
    write_json_lines(tmp_path / "a.jsonl")
    (tmp_path / ".cache").mkdir()
    for number in range(8):
        (tmp_path / ".cache" / f"{number}.jsonl").write_text("{}\n")
    monkeypatch.setattr(directories, "MOST_ENTRIES", 5)
    assert read_rows(str(tmp_path), "train", None, SILENT)
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("")
    with pytest.raises(InputError, match=r"holds more than 5 files and folders\. Name the folder of the data"):
        read_rows(str(tmp_path), "train", None, SILENT)


def test_a_subset_of_a_file_is_a_usage_error(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match="'main'"):
        read_rows(str(tmp_path / "a.jsonl"), "train", "main", SILENT)


def test_an_arrow_file_with_offsets_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """The second offset of a column of three texts, negative: whoever follows it reads outside the file."""
    table = pa.table({"question": ["aaaa", "bbbb", "cccc"], "answer": ["1", "2", "3"]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    offsets = np.array([0, 4, 8, 12], np.int32).tobytes()
    assert data.count(offsets) == 1
    path = tmp_path / "a.arrow"
    path.write_bytes(data.replace(offsets, np.array([0, -4, 8, 12], np.int32).tobytes()))
    with pytest.raises(InputError, match=r"Cannot load .*a\.arrow: .*offset"):
        read_rows(str(path), "train", None, SILENT)
