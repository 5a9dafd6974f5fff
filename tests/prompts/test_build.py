"""`build_prompts`: every row is counted, the output is reproducible, held-out prompts stay held out."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.errors import InputError, MismatchError, UsageError
from grao_pipeline.inspection.inspect import inspect_path
from grao_pipeline.inspection.options import InspectOptions
from grao_pipeline.messages import plain_messages
from grao_pipeline.prompts import build
from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.holdout import is_held_out
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.storage.reader import open_table
from tests.tiers import examples


def source(directory: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    (directory / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(directory / name)


def read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_table(str(path), "prompts").arrow().to_pylist()
    return [{**row, "messages": plain_messages(row["messages"])} for row in rows]


def tree(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"question {index}", "completion": f"answer {index}"} for index in range(count)]


MIXED: list[dict[str, Any]] = [
    {"prompt": "a", "completion": "b", "topic": "x"},
    {"prompt": "", "completion": "b"},
    {"prompt": "a", "completion": "b", "topic": "x"},  # a duplicate
    {"prompt": "a", "completion": "b", "topic": "y"},  # no duplicate: other metadata
    {"prompt": "c", "completion": None},
    {"prompt": "", "completion": "d"},
    {"prompt": "\ud800", "completion": "d"},  # an unpaired surrogate
]


def test_every_row_is_kept_or_counted_under_its_reason(tmp_path: Path) -> None:
    summary = build_prompts(source(tmp_path, MIXED), str(tmp_path / "out"), PromptsOptions())
    assert (summary.read, summary.kept, summary.format, summary.cached) == (7, 2, "prompt-completion", False)
    assert summary.dropped == {
        "the prompt is empty": 2,
        "a text is not valid Unicode": 1,
        "completion is missing": 1,
        "exact duplicate of an earlier row": 1,
    }
    assert summary.tables == {str(tmp_path / "out"): 2}
    assert [json.loads(row["metadata"]) for row in read(tmp_path / "out")] == [{"topic": "x"}, {"topic": "y"}]


@settings(max_examples=examples(30))
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "messages": st.none()
                | st.text(max_size=2)
                | st.lists(
                    st.fixed_dictionaries(
                        {"role": st.sampled_from(["user", "assistant", "bot"]), "content": st.sampled_from(["", "a"])}
                    ),
                    max_size=3,
                ),
                "extra": st.integers(0, 1),
            },
        ),
        max_size=8,
    )
)
def test_kept_and_dropped_add_up_to_read_whatever_the_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    directory = tmp_path_factory.mktemp("rows")
    good = {"messages": [{"role": "user", "content": "kept"}]}  # always kept
    summary = build_prompts(source(directory, [*rows, good]), str(directory / "out"), PromptsOptions())
    assert summary.read == len(rows) + 1
    assert summary.kept + sum(summary.dropped.values()) == summary.read
    assert summary.kept == len(read(directory / "out"))


def test_the_prompt_id_is_the_hash_of_the_other_columns(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "é"}, {"role": "assistant", "content": "b"}], "z": 1, "a": [2.5]}]
    build_prompts(source(tmp_path, rows), str(tmp_path / "out"), PromptsOptions())
    (row,) = read(tmp_path / "out")
    assert row["metadata"] == '{"a":[2.5],"z":1}'
    text = json.dumps([[["user", "é"]], "b", None, row["metadata"]], separators=(",", ":"), ensure_ascii=False)
    assert row["prompt_id"] == hashlib.sha256(text.encode()).hexdigest()[:32]


def test_dropped_rows_are_written_with_their_reason(tmp_path: Path) -> None:
    rejects = tmp_path / "new" / "rejects.jsonl"
    build_prompts(source(tmp_path, MIXED), str(tmp_path / "out"), PromptsOptions(rejects=str(rejects)))
    entries = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [(entry["row"], entry["reason"]) for entry in entries] == [
        (1, "the prompt is empty"),
        (2, "exact duplicate of an earlier row"),
        (4, "completion is missing"),
        (5, "the prompt is empty"),
        (6, "a text is not valid Unicode"),
    ]
    # The data is the unchanged row, without nulls.
    assert [entry["data"] for entry in entries] == [MIXED[1], MIXED[2], {"prompt": "c"}, MIXED[5], MIXED[6]]
    assert [path.name for path in rejects.parent.iterdir()] == ["rejects.jsonl"]


def test_without_drops_the_rejects_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "rejects.jsonl").write_text("of an earlier run\n")
    options = PromptsOptions(rejects=str(tmp_path / "rejects.jsonl"))
    build_prompts(source(tmp_path, numbered(2)), str(tmp_path / "out"), options)
    assert (tmp_path / "rejects.jsonl").read_bytes() == b""


def test_a_source_without_usable_rows_is_refused_with_the_reasons(tmp_path: Path) -> None:
    path = source(tmp_path, [{"prompt": ""}, {"prompt": None}, {"prompt": " "}])
    options = PromptsOptions(rejects=str(tmp_path / "rejects.jsonl"))
    with pytest.raises(InputError) as error:
        build_prompts(path, str(tmp_path / "out"), options)
    assert "all 3 rows were dropped" in str(error.value)
    assert "2 × the prompt is empty; 1 × prompt is missing" in str(error.value)
    assert not (tmp_path / "out").exists()
    assert len((tmp_path / "rejects.jsonl").read_text().splitlines()) == 3


def test_two_runs_are_byte_identical(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        options = PromptsOptions(eval_fraction=0.3)
        build_prompts(source(tmp_path / name, numbered(50)), str(tmp_path / name / "out"), options)
    assert tree(tmp_path / "one" / "out") == tree(tmp_path / "two" / "out")
    assert sorted(tree(tmp_path / "one" / "out")) == [
        "eval/.manifest.parquet",
        "eval/part-000000.parquet",
        "train/.manifest.parquet",
        "train/part-000000.parquet",
    ]


def test_a_finished_output_is_not_written_again(tmp_path: Path) -> None:
    path, out = source(tmp_path, numbered(3)), tmp_path / "out"
    first = build_prompts(path, str(out), PromptsOptions())
    before = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    # Naming the format that was chosen changes nothing.
    second = build_prompts(path, str(out), PromptsOptions(format="prompt-completion"))
    assert (first.cached, second.cached) == (False, True)
    assert (second.read, second.kept, second.tables) == (first.read, first.kept, first.tables)
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == before


def test_parts_have_a_fixed_number_of_rows_and_a_lost_one_is_regenerated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "ROWS_PER_PART", 4)
    path, out = source(tmp_path, numbered(10)), tmp_path / "out"
    build_prompts(path, str(out), PromptsOptions())
    table = open_table(str(out), "prompts")
    assert [table.part(index).num_rows for index in range(table.num_parts)] == [4, 4, 2]
    assert table.arrow().column("reference").to_pylist() == [f"answer {index}" for index in range(10)]
    whole = tree(out)
    (out / "part-000001.parquet").unlink()
    summary = build_prompts(path, str(out), PromptsOptions())
    assert not summary.cached
    assert tree(out) == whole


@pytest.mark.parametrize("change", [{"system": "Be kind."}, {"limit": 2}, {"eval_fraction": 0.5}])
def test_an_output_of_other_options_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = source(tmp_path, numbered(9))
    for first, second in ((PromptsOptions(), PromptsOptions(**change)), (PromptsOptions(**change), PromptsOptions())):
        out = tmp_path / f"out-{first.model_dump_json()}"[:200].replace("/", "-")
        build_prompts(path, str(out), first)
        before = tree(out)
        with pytest.raises(MismatchError, match="Choose another output directory"):
            build_prompts(path, str(out), second)
        assert tree(out) == before


def test_changed_rows_are_refused(tmp_path: Path) -> None:
    build_prompts(source(tmp_path, numbered(2)), str(tmp_path / "out"), PromptsOptions())
    with pytest.raises(MismatchError, match="input source"):
        build_prompts(source(tmp_path, numbered(3)), str(tmp_path / "out"), PromptsOptions())


def test_the_limit_counts_the_rows_that_are_read(tmp_path: Path) -> None:
    summary = build_prompts(source(tmp_path, MIXED), str(tmp_path / "out"), PromptsOptions(limit=2))
    assert (summary.read, summary.kept) == (2, 1)


def test_rows_after_the_limit_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a"}\nbroken\n')
    assert build_prompts(str(tmp_path / "a.jsonl"), str(tmp_path / "out"), PromptsOptions(limit=1)).kept == 1


def test_the_system_message_is_put_before_conversations_without_one(tmp_path: Path) -> None:
    existing = {"role": "system", "content": "existing"}
    question = {"role": "user", "content": "a"}
    rows = [
        {"messages": [existing, question]},
        {"messages": [question]},
        {"messages": [{**existing, "content": ""}, question]},
    ]
    # The third equals the second: an empty system message is removed.
    summary = build_prompts(source(tmp_path, rows), str(tmp_path / "out"), PromptsOptions(system="given"))
    assert summary.dropped == {"exact duplicate of an earlier row": 1}
    given_message = {"role": "system", "content": "given"}
    assert [row["messages"] for row in read(tmp_path / "out")] == [[existing, question], [given_message, question]]


def test_columns_are_renamed_before_the_format_is_chosen(tmp_path: Path) -> None:
    path = source(tmp_path, [{"instruction": "a", "output": "b", "prompt": "c"}])
    options = PromptsOptions(map=["instruction=prompt", "output=completion", "prompt=other"])
    build_prompts(path, str(tmp_path / "out"), options)
    (row,) = read(tmp_path / "out")
    assert (row["messages"], row["reference"]) == ([{"role": "user", "content": "a"}], "b")
    assert json.loads(row["metadata"]) == {"other": "c"}


@pytest.mark.parametrize(
    ("entries", "fragments"),
    [
        (["instruction=prompt"], ["'instruction'", "Columns: prompt, completion"]),
        (["prompt"], ["'prompt'", "column=field"]),
        (["=prompt"], ["'=prompt'", "column=field"]),
        (["prompt=completion"], ["'prompt=completion'", "already has a column 'completion'"]),
        (["prompt=a", "prompt=b"], ["'prompt=b'"]),
        (["prompt=a", "completion=a"], ["'completion=a'"]),
    ],
)
def test_a_mapping_that_cannot_work_is_a_usage_error(tmp_path: Path, entries: list[str], fragments: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        build_prompts(source(tmp_path, numbered(1)), str(tmp_path / "out"), PromptsOptions(map=entries))
    for fragment in fragments:
        assert fragment in str(error.value)


def test_unknown_columns_are_a_usage_error_that_lists_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"fit no format. Columns: text, label\."):
        build_prompts(source(tmp_path, [{"text": "a", "label": 1}]), str(tmp_path / "out"), PromptsOptions())


def held_out(directory: Path, rows: list[dict[str, Any]], fraction: float) -> tuple[set[str], set[str]]:
    """The texts of the prompts of (train, eval)."""
    out = directory / f"out-{fraction}-{len(rows)}"
    build_prompts(source(directory, rows), str(out), PromptsOptions(eval_fraction=fraction))
    train, evaluation = ({row["messages"][0]["content"] for row in read(out / side)} for side in ("train", "eval"))
    return train, evaluation


def test_a_conversation_never_lands_on_both_sides(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{index % 100}", "completion": f"a{index}"} for index in range(300)]
    train, evaluation = held_out(tmp_path, rows, 0.5)
    assert not train & evaluation
    assert len(train | evaluation) == 100


def test_new_rows_and_other_answers_do_not_move_a_prompt(tmp_path: Path) -> None:
    train, evaluation = held_out(tmp_path, numbered(100), 0.3)
    more = [{**row, "completion": "other"} for row in reversed(numbered(400))]
    more_train, more_evaluation = held_out(tmp_path, more, 0.3)
    assert train < more_train
    assert evaluation < more_evaluation
    # A larger fraction holds out every prompt that a smaller one holds out.
    assert evaluation < held_out(tmp_path, numbered(100), 0.6)[1]


def test_the_share_held_out_is_the_fraction() -> None:
    held = sum(is_held_out([{"role": "user", "content": str(index)}], 0.2) for index in range(5000))
    # Binomial(5000, 0.2): mean 1000, standard deviation 28; the hash is fixed, so the result never changes.
    assert abs(held - 1000) < 4 * 28


def test_a_side_without_prompts_is_an_empty_table(tmp_path: Path) -> None:
    summary = build_prompts(source(tmp_path, numbered(1)), str(tmp_path / "out"), PromptsOptions(eval_fraction=1e-9))
    assert list(summary.tables.values()) == [1, 0]
    assert read(tmp_path / "out" / "eval") == []
    assert build_prompts(
        source(tmp_path, numbered(1)), str(tmp_path / "out"), PromptsOptions(eval_fraction=1e-9)
    ).cached


def test_a_directory_that_holds_tables_is_answered_with_their_names(tmp_path: Path) -> None:
    out = tmp_path / "data"
    build_prompts(source(tmp_path, numbered(9)), str(out), PromptsOptions(eval_fraction=0.5))
    message = re.escape(f"{out} is not a table itself: it holds the tables {out}/eval, {out}/train.")
    for open_it in (lambda: open_table(str(out), "prompts"), lambda: inspect_path(str(out), InspectOptions())):
        with pytest.raises(InputError, match=message):
            open_it()
