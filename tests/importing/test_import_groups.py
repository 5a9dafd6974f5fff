"""`grao import`: groups and scores from files that other software wrote; every row is counted."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.importing.rows import read_group
from grao_pipeline.messages import plain_messages
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.importing.common import read, source

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Three?"}]
ROWS: list[dict[str, Any]] = [
    {
        "prompt": "2+2?",
        "responses": ["4", "5", ""],
        "rewards": [1, 0.5, None],
        "reference": "four",
        "reference_reward": 0.75,
        "rejected": "six",
        "level": 1,
    },
    {"prompt": CHAT, "responses": [[{"role": "assistant", "content": "3"}]]},
    {"prompt": "2+2?", "responses": ["4"], "rewards": [1.0]},
]


def test_a_row_becomes_a_group_and_its_scores(tmp_path: Path) -> None:
    summary = tiny.grao_json("import", source(tmp_path, ROWS), tmp_path / "out", "--name", "human")
    groups, scores = read(tmp_path / "out" / "groups"), read(tmp_path / "out" / "scores")
    first, second, third = groups
    assert plain_messages(first["messages"]) == [{"role": "user", "content": "2+2?"}]
    assert (first["completions"], first["reference"], first["rejected"]) == (["4", "5", ""], "four", "six")
    assert first["metadata"] == '{"level":1}'
    assert (plain_messages(second["messages"]), second["completions"], second["reference"]) == (CHAT, ["3"], None)
    # Without a model there are no ids and no log-probs. An empty list: a reference without ids. Null: no reference.
    assert (first["prompt_token_ids"], first["completion_token_ids"]) == ([], [[], [], []])
    assert [group["reference_token_ids"] for group in groups] == [[], None, None]
    assert {(g["completion_logprobs"], g["retokenized"], g["policy"], g["round"]) for g in groups} == {
        (None, None, "imported", 0)
    }
    assert first["finish_reasons"] == ["stop"] * 3
    assert [score["group_id"] for score in scores] == [group["group_id"] for group in groups]
    assert [score["rewards"] for score in scores] == [[1.0, 0.5, None], [None], [1.0]]
    assert [score["reference_reward"] for score in scores] == [0.75, None, None]
    assert [score["statuses"] for score in scores] == [["ok", "ok", "error"], ["error"], ["ok"]]
    assert open_table(str(tmp_path / "out" / "scores")).provenance.options["name"] == "human"
    assert (first["prompt_id"], first["group_id"]) != (third["prompt_id"], third["group_id"])
    assert (summary["read"], summary["groups"], summary["samples"], summary["rewards"]) == (3, 3, 5, 3)
    assert summary["fingerprint"] == open_table(str(tmp_path / "out" / "groups")).fingerprint


def test_imported_rewards_become_advantages_with_the_reference(tmp_path: Path) -> None:
    """Rewards 1 and 0 with a reference at 2: μ = 1, σ = √(2/3), so Â = 0, −√1.5 and √1.5."""
    row = {"prompt": "q", "responses": ["a", "b"], "rewards": [1, 0], "reference": "y", "reference_reward": 2}
    tiny.grao_json("import", source(tmp_path, [row]), tmp_path / "out")
    tiny.grao_json("advantages", tmp_path / "out/groups", tmp_path / "adv", "--scores", tmp_path / "out/scores")
    (row,) = read(tmp_path / "adv")
    assert row["advantages"] == [0.0, pytest.approx(-(1.5**0.5))]
    assert row["reference_advantage"] == pytest.approx(1.5**0.5)


@pytest.mark.slow
def test_the_same_rows_from_another_kind_of_file_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "responses": ["a", "b"], "rewards": [0.5, 1.0], "answer": str(i)} for i in range(5)]
    plain = source(tmp_path, rows)
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.write(plain.read_text())
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    for number, name in enumerate(("rows.jsonl", "rows.jsonl.gz", "rows.parquet")):
        tiny.grao_json("import", tmp_path / name, tmp_path / str(number), "--prompts-per-part", 2)
    for table in ("groups", "scores"):
        tables = [open_table(str(tmp_path / str(number) / table)) for number in range(3)]
        assert [one.num_parts for one in tables] == [3, 3, 3]
        assert len({one.fingerprint for one in tables}) == 1
        assert tables[0].arrow().equals(tables[1].arrow())
        assert tables[0].arrow().equals(tables[2].arrow())


def test_without_rewards_there_is_no_scores_table(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "q", "responses": ["a"]},
        {"prompt": "r", "responses": ["a"], "rewards": [None]},
    ]
    summary = tiny.grao_json("import", source(tmp_path, rows), tmp_path / "out")
    assert list(summary["tables"]) == [str(tmp_path / "out" / "groups")]
    assert not (tmp_path / "out" / "scores").exists()


def test_every_dropped_row_is_counted_and_written_to_the_rejects(tmp_path: Path) -> None:
    good: dict[str, Any] = {"prompt": "q", "responses": ["a", "b"]}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"responses": ["a"]}, "prompt is missing"),
        ({"prompt": " ", "responses": ["a"]}, "the prompt is empty"),
        ({"prompt": [{"role": "assistant", "content": "x"}], "responses": ["a"]}, "does not end in a user turn"),
        ({"prompt": "q"}, "responses is missing"),
        ({"prompt": "q", "responses": "a"}, "responses is not a list"),
        ({"prompt": "q", "responses": []}, "responses is empty"),
        ({"prompt": "q", "responses": ["a", None]}, "a response is missing"),
        ({"prompt": "q", "responses": [{"a": 1}]}, "a response is not text"),
        ({**good, "finish_reasons": ["stop"]}, "finish_reasons and responses differ in length"),
        ({**good, "finish_reasons": ["stop", "bored"]}, "finish reason 'bored' is unknown"),
        ({**good, "rewards": 1}, "rewards is not a list"),
        ({**good, "rewards": [1]}, "rewards and responses differ in length"),
        ({**good, "rewards": [1, "high"]}, "rewards contains a value that is neither a finite number nor null"),
        ({**good, "rewards": [True, False]}, "rewards contains a value that is neither a finite number nor null"),
        ({**good, "rewards": [1, float("inf")]}, "rewards contains a value that is neither a finite number nor null"),
        ({**good, "rewards": [1, 1e39]}, "rewards contains a value that is neither a finite number nor null"),
        ({**good, "reference": " "}, "the reference is empty"),
        ({**good, "reference_reward": 1}, "reference_reward without a reference"),
        ({"prompt": "q", "responses": ["\ud800"]}, "a text is not valid Unicode"),
        ({**good, "rewards": [1, 2]}, "same prompt and responses as an earlier row"),
    ]
    rows: list[dict[str, Any]] = [good, *(row for row, _ in bad)]
    path = source(tmp_path, rows)
    summary = tiny.grao_json("import", path, tmp_path / "out", "--rejects", tmp_path / "rejects.jsonl")
    assert (summary["read"], summary["groups"]) == (len(bad) + 1, 1)
    assert sum(summary["dropped"].values()) == len(bad)
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [reject["row"] for reject in rejects] == list(range(1, len(bad) + 1))
    for reject, (_, reason) in zip(rejects, bad, strict=True):
        assert reason in reject["reason"]


def test_an_interrupted_import_is_resumed_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    path = source(tmp_path, [{"prompt": f"q{i}", "responses": ["a"], "rewards": [i]} for i in range(6)])
    arguments = ["import", path, tmp_path / "out", "--prompts-per-part", 2]
    whole = tiny.grao_json(*arguments)
    before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*.*")}
    for name in ("groups/.manifest.parquet", "groups/part-000002.parquet", "scores/part-000000.parquet"):
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / "scores" / ".manifest.parquet").unlink()
    again = tiny.grao_json(*arguments)
    assert (again["parts_found"], again["parts_made"]) == (4, 2)
    assert {**again, "parts_found": 0, "parts_made": 6} == whole
    assert {file: file.read_bytes() for file in (tmp_path / "out").rglob("*.*")} == before


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4).filter(str.strip)


@given(st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=2, max_size=2, unique_by=str))
def test_different_texts_have_different_group_ids(pairs: list[tuple[str, list[str]]]) -> None:
    one, other = (read_group({"prompt": prompt, "responses": responses}).group_id for prompt, responses in pairs)
    assert one != other


def test_with_a_tokenizer_the_ids_are_those_of_the_chat_template(tmp_path: Path, model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    summary = tiny.grao_json("import", source(tmp_path, ROWS), tmp_path / "out", "--tokenizer", model)
    assert summary["tokenized"]
    for group in read(tmp_path / "out" / "groups"):
        prompt = tokenizer.apply_chat_template(
            plain_messages(group["messages"]), add_generation_prompt=True, tokenize=False
        )
        assert group["prompt_token_ids"] == tokenizer.encode(prompt)
        for text, ids in zip(group["completions"], group["completion_token_ids"], strict=True):
            assert tokenizer.decode(ids) == f"{text}<|im_end|>"
        if group["reference"] is not None:
            assert tokenizer.decode(group["reference_token_ids"]) == f"{group['reference']}<|im_end|>"
        assert group["retokenized"]
        assert group["completion_logprobs"] is None
    provenance = open_table(str(tmp_path / "out" / "groups")).provenance
    assert provenance.details["chat_template"] == tiny.CHAT_TEMPLATE


@pytest.mark.slow
def test_imported_groups_with_token_ids_can_be_trained_on(tmp_path: Path, model: Path) -> None:
    rows = [
        {"prompt": f"Say {i}.", "responses": [str(i), "no"], "rewards": [1, 0], "reference": "yes"} for i in range(2)
    ]
    tiny.grao_json("import", source(tmp_path, rows), tmp_path / "out", "--tokenizer", model)
    tiny.grao_json("advantages", tmp_path / "out/groups", tmp_path / "adv", "--scores", tmp_path / "out/scores")
    arguments = ["train", tmp_path / "out/groups", tmp_path / "adv", tmp_path / "trained", "--model", model]
    refused = tiny.grao(*arguments)
    assert (refused.exit_code, "policy imported" in refused.stderr) == (1, True)
    tiny.grao_json(*arguments, "--allow-off-policy", "--device", "cpu")
    assert (tmp_path / "trained" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("rows", "options", "code", "message"),
    [
        ([{"topic": "q", "responses": ["a"]}], [], 2, "has no column 'prompt'. It has: topic, responses."),
        ([{"prompt": "q", "answer": "a"}], [], 2, "has no column 'responses'. It has: prompt, answer."),
        ([{"prompt": "q", "responses": ["a"]}], ["--group-by", "step"], 2, "applies only where a row is one sample"),
        ([{"prompt": "q", "response": "a"}], ["--group-by", "step"], 2, "has no column 'step'. It has: prompt, resp"),
        (
            [{"prompt": "q", "output": "a", "completion": "b"}],
            [],
            2,
            "'completion' and 'output' could both be the resp",
        ),
        ([{"prompt": "q", "texts": ["a"]}], ["--map", "texts=prompt"], 2, "the source already has a column 'prompt'"),
        (
            [{"prompt": "q", "responses": ["a"]}],
            ["--chat-template", "t.jinja"],
            2,
            "has an effect only together with --tokenizer",
        ),
        ([{"prompt": "q", "responses": "a"}], [], 1, "yields no group: all 1 rows were dropped (1 × responses is not"),
        ([{"prompt": "q", "responses": ["a"]}], ["--tokenizer", "./nothing"], 1, "'./nothing': there is no such dir"),
        ([], [], 1, "has no rows"),
    ],
)
def test_wrong_use_is_answered_with_one_clear_message(
    tmp_path: Path, rows: list[dict[str, Any]], options: list[str], code: int, message: str
) -> None:
    result = tiny.grao("import", source(tmp_path, rows), tmp_path / "out", *options)
    assert (result.exit_code, message in result.stderr) == (code, True), result.output
    assert not (tmp_path / "out").exists()


def test_a_broken_line_is_named_and_another_table_is_not_overwritten(tmp_path: Path) -> None:
    path = source(tmp_path, ROWS)
    tiny.grao_json("import", path, tmp_path / "out")
    other = tiny.grao("import", source(tmp_path, ROWS[:2], "other.jsonl"), tmp_path / "out")
    assert (other.exit_code, "Choose another output directory" in other.stderr) == (1, True)
    inside = tiny.grao("import", path, tmp_path / "out" / "groups")
    assert (inside.exit_code, "already holds a table" in inside.stderr) == (1, True)
    (tmp_path / "broken.jsonl").write_text('{"prompt": "q", "responses": ["a"]}\n{"prompt": \n')
    broken = tiny.grao("import", tmp_path / "broken.jsonl", tmp_path / "new")
    assert (broken.exit_code, "broken.jsonl, line 2: not valid JSON" in broken.stderr) == (1, True)


@pytest.mark.slow
def test_published_solutions_are_scored_and_compared_without_a_model(tmp_path: Path, real_data: Path) -> None:
    """GSM8K solutions of four models, with commands only, against labels by people."""
    with gzip.open(real_data / "gsm8k" / "model-solutions.jsonl.gz", "rt") as file:
        published = [json.loads(line) for line in file]
    rows = [
        {
            "question": row["question"],
            "responses": [row[name]["solution"] for name in MODELS],
            "rewards": [float(row[name]["is_correct"]) for name in MODELS],
            "reference": row["ground_truth"],
            "answer": row["ground_truth"].rpartition("A:")[2].strip(),
        }
        for row in published
    ]
    out = tmp_path / "imported"
    options = ["--map", "question=prompt", "--prompts-per-part", 100, "--name", "people"]
    summary = tiny.grao_json("import", source(tmp_path, rows), out, *options)
    assert (summary["groups"], summary["samples"]) == (len(published), 4 * len(published))
    labels = [row["rewards"] for row in rows]
    for reward in ("gsm8k", "math", "numeric"):
        tiny.grao_json("score", out / "groups", tmp_path / reward, "--reward", reward)
        scored = read(tmp_path / reward)
        assert [score["rewards"] for score in scored] == labels
        assert {score["reference_reward"] for score in scored} == {1.0}
    summary = tiny.grao_json(
        *["advantages", out / "groups", tmp_path / "advantages", "--combine", "minimum"],
        *["--scores", tmp_path / "gsm8k", "--scores", tmp_path / "math"],
    )
    # A group whose four samples and reference are all right teaches nothing.
    all_right = sum(all(label) for label in labels)
    assert summary["zero_variance_groups"] == all_right
    assert summary["trained_groups"] == len(published) - all_right
    assert summary["mean_reward"] == pytest.approx(sum(map(sum, labels)) / (4 * len(labels)))
    assert summary["groups_without_reference"] == 0
