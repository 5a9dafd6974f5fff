"""`grao references`: a teacher's answers, the best samples of groups, another table's references."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import MismatchError, UsageError
from grao_pipeline.fingerprints import prompt_fingerprint
from grao_pipeline.messages import plain_messages
from grao_pipeline.options import parse_options
from grao_pipeline.references.options import ReferencesOptions
from grao_pipeline.references.references import ReferencesSummary, write_references
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.commands import Command
from tests.generation.chat_server import Body, ChatServer, chat_server

Row = dict[str, Any]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    """Six prompts; the third has a reference."""
    rows = [tiny.prompt_row(f"Question {n}", "It is there." if n == 2 else None, answer=f"{n}") for n in range(6)]
    return tiny.write_table(tmp_path / "prompts", "prompts", rows, rows_per_part=2)


def run(prompts: str, out: Path, **options: Any) -> tuple[ReferencesSummary, list[Row]]:
    """The summary, and the new table."""
    chosen = parse_options(ReferencesOptions, options)
    summary = write_references(prompts, str(out), chosen)
    return summary, open_table(str(out), "prompts").arrow().to_pylist()


def teacher(server: ChatServer, **others: Any) -> dict[str, Any]:
    return {"engine": "openai", "api": "chat", "base_url": server.base_url, "prompts_per_part": 2, **others}


def references(rows: list[Row]) -> list[str | None]:
    return [row["reference"] for row in rows]


def identity_holds(rows: list[Row]) -> bool:
    """Whether every prompt ID is the hash of the row's other columns."""
    return all(
        row["prompt_id"]
        == prompt_fingerprint(
            plain_messages(row["messages"]),
            row["reference"],
            row["rejected"],
            row["metadata"],
            row["tools"],
            row["reference_reasoning"],
        )
        for row in rows
    )


@pytest.mark.slow
def test_a_teacher_on_a_chat_server_writes_the_missing_references(
    server: ChatServer, prompts: str, tmp_path: Path
) -> None:
    server.message = lambda body, _: {"content": f"A: {body['messages'][-1]['content']}", "reasoning_content": "Hm."}
    before = open_table(prompts, "prompts").arrow().to_pylist()
    summary, rows = run(prompts, tmp_path / "out", **teacher(server))
    assert references(rows) == ["A: Question 0", "A: Question 1", "It is there."] + [
        f"A: Question {n}" for n in (3, 4, 5)
    ]
    assert [row["reference_reasoning"] for row in rows] == ["Hm.", "Hm.", None, "Hm.", "Hm.", "Hm."]
    assert (summary.written, summary.already_there, summary.not_found) == (5, 1, {})
    assert rows[2] == before[2]
    assert identity_holds(rows)
    assert {request["temperature"] for request in server.requests} == {0.0}
    assert len(server.answered) == 5


@pytest.mark.slow
def test_a_second_run_asks_nothing_and_changes_nothing(server: ChatServer, prompts: str, tmp_path: Path) -> None:
    _, first = run(prompts, tmp_path / "out", **teacher(server))
    summary, second = run(prompts, tmp_path / "out", **teacher(server))
    assert (len(server.answered), summary.parts_made, summary.written, first == second) == (5, 0, 5, True)


@pytest.mark.slow
def test_references_are_overwritten_only_on_request(server: ChatServer, prompts: str, tmp_path: Path) -> None:
    summary, rows = run(prompts, tmp_path / "out", overwrite_references=True, **teacher(server))
    assert references(rows)[2] == "Question 2 0"
    assert (summary.written, summary.already_there) == (6, 0)
    with pytest.raises(MismatchError, match="overwrite_references was True and is now False"):
        run(prompts, tmp_path / "out", **teacher(server))


@pytest.mark.slow
def test_the_best_of_several_samples_is_the_reference(server: ChatServer, prompts: str, tmp_path: Path) -> None:
    """The answer of prompt n is n, and sample k says k: prompts 0 to 2 have a right sample, 3 to 5 do not."""
    server.message = lambda _, number: {"content": f"{number}"}
    options = {"samples": 3, "temperature": 1.0, "reward": "exact-match", "min_reward": 1.0, "use_cache": False}
    summary, rows = run(prompts, tmp_path / "out", **teacher(server, **options))
    assert references(rows) == ["0", "1", "It is there.", None, None, None]
    assert summary.not_found == {"no reward of at least --min-reward": 3}
    assert (summary.written, summary.mean_reward) == (2, 1.0)


@pytest.mark.slow
def test_a_cut_answer_becomes_no_reference(server: ChatServer, prompts: str, tmp_path: Path) -> None:
    server.finish_reason = lambda body: "length" if body["messages"][-1]["content"] == "Question 4" else "stop"
    summary, rows = run(prompts, tmp_path / "out", **teacher(server))
    assert references(rows)[4] is None
    assert summary.not_found == {"no complete sample": 1}


@pytest.mark.slow
def test_a_killed_run_asks_for_the_rest_alone(server: ChatServer, prompts: str, tmp_path: Path) -> None:
    """The fifth answer never comes; killed, the first part is there, and only what was in flight is asked again."""
    waiting: list[int] = []

    def message(body: Body, number: int) -> Body:
        if len(server.answered) == 5 and not waiting:
            waiting.append(number)
            time.sleep(1.0)
        return {"content": "yes"}

    server.message = message
    options = ["--engine", "openai", "--api", "chat", "--base-url", server.base_url]
    options += ["--prompts-per-part", "1", "--concurrency", "1"]
    process = Command("references", prompts, tmp_path / "out", *options)
    deadline = time.monotonic() + 120
    while len(server.answered) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    committed = len(list((tmp_path / "out.teacher" / "groups").glob("part-*.parquet")))
    asked = len(server.answered)
    _, rows = run(prompts, tmp_path / "out", **teacher(server, prompts_per_part=1))
    assert references(rows) == ["yes", "yes", "It is there.", "yes", "yes", "yes"]
    assert committed >= 1
    assert len(server.answered) - asked == 5 - committed


def scored(tmp_path: Path, prompts: str, change: Any = None) -> dict[str, str]:
    """Groups of the prompts, two samples each, and their scores: sample 1 of prompt n has reward n."""
    rows = []
    for number, prompt in enumerate(open_table(prompts, "prompts").arrow().to_pylist()):
        row = tiny.group_row(f"Question {number}", [f"bad {number}", f"good {number}"], None, answer=f"{number}")
        row |= {"prompt_id": prompt["prompt_id"], "reference": prompt["reference"]}
        rows.append(row if change is None else change(number, row))
    groups = tiny.write_table(tmp_path / "groups", "groups", rows)
    scores = [
        {"group_id": row["group_id"], "rewards": [-1.0, float(number)], "reference_reward": None}
        | {"statuses": ["ok", "ok"], "details": [None, None]}
        for number, row in enumerate(rows)
    ]
    fingerprint = open_table(groups, "groups").fingerprint
    return {
        "groups": groups,
        "scores": tiny.write_table(tmp_path / "scores", "scores", scores, inputs={"groups": fingerprint}),
    }


def test_the_best_samples_of_groups_become_references(prompts: str, tmp_path: Path) -> None:
    summary, rows = run(prompts, tmp_path / "out", **scored(tmp_path, prompts), min_reward=1.0)
    assert references(rows) == [None, "good 1", "It is there.", "good 3", "good 4", "good 5"]
    assert summary.not_found == {"no reward of at least --min-reward": 1}
    assert summary.mean_reward == (1 + 3 + 4 + 5) / 4
    assert identity_holds(rows)


def test_groups_of_the_same_prompt_with_another_reference_are_used(prompts: str, tmp_path: Path) -> None:
    """Their prompt ID is another one; the conversation and the metadata are the same."""
    tables = scored(tmp_path, prompts, lambda _, row: {**row, "prompt_id": "f" * 32})
    summary, rows = run(prompts, tmp_path / "out", overwrite_references=True, **tables)
    assert references(rows) == [f"good {n}" for n in range(6)]
    assert summary.written == 6


def test_a_thought_becomes_the_references_reasoning_and_no_answer_no_reference(prompts: str, tmp_path: Path) -> None:
    def thinking(number: int, row: Row) -> Row:
        answers = [None, None] if number == 0 else [None, f"{number}"]
        return {**row, "reasoning": ["Hm", f"I think {number}"], "answers": answers}

    summary, rows = run(prompts, tmp_path / "out", **scored(tmp_path, prompts, thinking))
    assert references(rows) == [None, "1", "It is there.", "3", "4", "5"]
    assert rows[1]["reference_reasoning"] == "I think 1"
    assert summary.not_found == {"no complete sample": 1}


def test_another_tables_references_are_matched_by_the_conversation(prompts: str, tmp_path: Path) -> None:
    """The metadata differ; prompt 1 stands twice with different references, and the first counts; 4 has none there."""
    given = [(5, "five"), (1, "one"), (1, "uno"), (2, "two"), (3, "three"), (4, None), (9, "nine")]
    rows = [tiny.prompt_row(f"Question {n}", text, source="elsewhere") for n, text in given]
    other = tiny.write_table(tmp_path / "other", "prompts", rows)
    summary, new = run(prompts, tmp_path / "out", **{"from": other})
    assert references(new) == [None, "one", "It is there.", "three", None, "five"]
    assert (summary.written, summary.ambiguous, summary.not_found) == (3, 1, {"not in the source": 2})
    assert [row["metadata"] for row in new] == [
        row["metadata"] for row in open_table(prompts, "prompts").arrow().to_pylist()
    ]


def test_rows_that_become_equal_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [tiny.prompt_row("Question", text) for text in ("one", "two")]
    table = tiny.write_table(tmp_path / "two", "prompts", rows)
    other = tiny.write_table(tmp_path / "other", "prompts", [tiny.prompt_row("Question", "three")])
    summary, new = run(table, tmp_path / "out", overwrite_references=True, **{"from": other})
    assert references(new) == ["three"]
    assert (summary.written, summary.duplicates) == (2, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "say where the references come from"),
        ({"groups": "g"}, "--groups and --scores go together"),
        ({"groups": "g", "scores": "s", "from": "t"}, "--groups or --from, not both"),
        ({"from": "t", "model": "m"}, "does not go with --groups or --from"),
        ({"from": "t", "min_reward": 1.0}, "--min-reward needs rewards"),
        ({"model": "m", "min_reward": 1.0}, "--min-reward needs rewards"),
        ({"model": "m", "samples": 4, "temperature": 1.0}, "--reward chooses the best"),
        ({"model": "m", "samples": 4, "reward": "gsm8k"}, "at temperature 0 all samples are equal"),
        ({"base_url": "http://host/v1"}, "give --engine openai"),
        ({"model": "m", "worker": "0/2"}, "worker is an option of grao generate alone"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_options(ReferencesOptions, options)


def test_the_command_writes_references(prompts: str, tmp_path: Path) -> None:
    tables = scored(tmp_path, prompts)
    summary = tiny.grao_json(
        "references", prompts, tmp_path / "out", "--groups", tables["groups"], "--scores", tables["scores"]
    )
    assert (summary["written"], summary["already_there"], summary["prompts"]) == (5, 1, 6)
