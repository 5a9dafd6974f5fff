"""Sources in every format, with broken values and broken bytes, for `grao prompts` and `grao import`."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from benchmarks.chaos.fuzz_run import Run
from benchmarks.chaos.mutations import broken, changed, encoded, json_text
from benchmarks.chaos.place import Place

CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 and 3?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "I add."},
    {"role": "tool", "tool_call_id": "1", "content": "5"},
]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
ANSWER = [{"role": "assistant", "content": "It is 5."}]
BATCH_BODY = {"choices": [{"message": {"role": "assistant", "content": "5"}, "finish_reason": "stop"}]}
PROMPTS: tuple[dict[str, Any], ...] = (
    {"question": "What is 2 and 3?", "answer": "5", "level": 3, "tags": ["a"]},
    {"messages": [*TURNS, *ANSWER], "tools": TOOLS, "source": "x"},
    {"prompt": [TURNS[1]], "chosen": ANSWER, "rejected": [{"role": "assistant", "content": "6"}]},
    {
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
        "tools": json.dumps(TOOLS),
    },
    {"instruction": "Add.", "input": "2 3", "output": "5"},
    {"prompt": "Add 2 and 3.", "completion": "5", "label": True},
    {"prompt": [TURNS[1]], "reward_model": {"ground_truth": "5"}, "data_source": "x", "extra_info": {"index": 1}},
    {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [TURNS[1]]}},
)
SAMPLES: tuple[dict[str, Any], ...] = (
    {"prompt": "Add 2 and 3.", "responses": ["5", "6"], "rewards": [1.0, 0.0], "finish_reasons": ["stop", "length"]},
    {"prompt": [TURNS[1]], "responses": [[*TURNS[2:], *ANSWER], ANSWER], "tools": TOOLS, "rewards": [1, None]},
    {"prompt": "Add.", "response": "5", "reward": 0.5, "step": 1, "is_truncated": False},
    {
        "prompt_token_ids": [1, 7, 8],
        "completion_token_ids": [[5, 6, 2], [6, 2]],
        "completion_logprobs": [[-0.5, -1.0, -0.1], [-1.0, -2.0]],
        "completion_masks": [[1, 0, 1], [1, 1]],
        "rewards": [1.0, 0.0],
    },
    {"token_ids": [[1, 7, 8, 5, 2]], "action_ranges": [[[3, 5]]], "rewards": [1.0]},
    {"custom_id": "a", "response": {"status_code": 200, "body": BATCH_BODY}, "error": None},
    {"instruction": "Add.", "generations": ["5", "6"], "ratings": [1, 2]},
)
ROWS = 4


def run(place: Place, directory: Path, generator: random.Random) -> Run:
    """`grao prompts` or `grao import` of a broken file."""
    is_import = generator.random() < 0.4
    shape = generator.choice(SAMPLES if is_import else PROMPTS)
    rows = [shape] * ROWS
    if generator.random() < 0.75:
        for number in range(generator.randint(1, ROWS)):
            rows[number] = changed(shape, generator, generator.randint(1, 3))
    rows = [row if isinstance(row, dict) else {"prompt": row} for row in rows]
    name, data = _file(rows, generator)
    if generator.random() < 0.3:
        data = broken(data, generator)
    name, data = _compressed(name, data, generator)
    source = directory / name
    source.write_bytes(data)
    out = directory / "out"
    if not is_import:
        extra = ("--rejects", directory / "rejects.jsonl") if generator.random() < 0.3 else ()
        return Run("source → prompts", ("prompts", source, out, *extra), lambda: wrong_prompts(out))
    tokens = ("--tokenizer", place.model) if generator.random() < 0.5 else ()
    batch: tuple[object, ...] = ()
    if "custom_id" in shape:
        requests = directory / "requests.jsonl"
        request = changed(PROMPTS[-1], generator) if generator.random() < 0.5 else PROMPTS[-1]
        requests.write_bytes(encoded(json_text(request, generator)) + b"\n")
        batch = ("--batch-input", requests)
    return Run("source → import", ("import", source, out, *tokens, *batch), lambda: wrong_groups(out / "groups"))


def _file(rows: list[dict[str, Any]], generator: random.Random) -> tuple[str, bytes]:
    """The name and the bytes of a file of rows, in some format."""
    ending = generator.choice(("jsonl", "jsonl", "json", "json", "csv", "tsv", "parquet", "arrow"))
    if ending == "jsonl":
        return "a.jsonl", encoded("\n".join(json_text(row, generator) for row in rows))
    if ending == "json":
        key = generator.choice((None, None, "data", "rows"))
        return "a.json", encoded(json_text(rows if key is None else {key: rows, "version": 1}, generator))
    if ending in ("csv", "tsv"):
        text = io.StringIO()
        columns = sorted({str(column) for row in rows for column in row})
        writer = csv.writer(text, delimiter="," if ending == "csv" else "\t")
        writer.writerow(columns)
        writer.writerows([[_cell(row.get(column), generator) for column in columns] for row in rows])
        return f"a.{ending}", encoded(text.getvalue())
    table = as_arrow(rows)
    sink = pa.BufferOutputStream()
    if ending == "parquet":
        pq.write_table(table, sink)
    else:
        maker = pa.ipc.new_stream if generator.random() < 0.5 else pa.ipc.new_file
        with maker(sink, table.schema) as writer:
            writer.write_table(table)
    return f"a.{ending}", sink.getvalue().to_pybytes()


def as_arrow(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as Arrow's types; columns of mixed values as texts."""
    columns = {}
    for name in dict.fromkeys(str(column) for row in rows for column in row):
        values = [row.get(name) for row in rows]
        title = encoded(name).decode("utf-8", "replace")
        try:
            columns[title] = pa.array(values)
            pq.write_table(pa.table({title: columns[title]}), pa.BufferOutputStream())
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            columns[title] = pa.array([json.dumps(value) for value in values])
    return pa.table(columns)


def _cell(value: Any, generator: random.Random) -> str:
    return value if isinstance(value, str) else json_text(value, generator)


def _compressed(name: str, data: bytes, generator: random.Random) -> tuple[str, bytes]:
    choice = generator.random()
    if choice < 0.8:
        return name, data
    if choice < 0.82:
        return f"{name}.gz", gzip.compress(data + b"\n" * 2**24) * 3
    if choice < 0.84:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(name, data)
        return f"{name}.zip", archive.getvalue()
    ending, compress = generator.choice((("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)))
    packed = compress(data)
    return f"{name}.{ending}", broken(packed, generator) if generator.random() < 0.3 else packed


def rows_of(table: Path) -> list[dict[str, Any]]:
    """The rows of a table, by Arrow's reader rather than ours."""
    files = sorted(str(path) for path in table.glob("part-*.parquet"))
    rows: list[dict[str, Any]] = pyarrow.dataset.dataset(files).to_table().to_pylist() if files else []
    return rows


def wrong_prompts(table: Path) -> str | None:
    """The first claim of the contract that a prompts table breaks."""
    rows = rows_of(table)
    for row in rows:
        problem = _wrong_prompt(row)
        if problem:
            return problem
    return None if rows else "no rows"


def wrong_groups(table: Path) -> str | None:
    """The first claim of the contract that a groups table breaks."""
    rows = rows_of(table)
    for row in rows:
        samples = len(row["completions"])
        lists = ("completion_token_ids", "completion_logprobs", "completion_masks", "finish_reasons")
        lengths = {len(row[name]) for name in lists if row[name] is not None}
        values = [value for ids in row["completion_logprobs"] or () for value in ids or ()]
        tokens = [token for ids in row["completion_token_ids"] for token in ids]
        if not samples or lengths != {samples}:
            return f"lists of {lengths} for {samples} samples"
        if any(not -1e30 < value < 0.02 for value in values) or any(token < 0 for token in tokens):
            return f"log-probs {values}, token IDs {tokens}"
        problem = _wrong_prompt(row)
        if problem:
            return problem
    return None if rows else "no rows"


def _wrong_prompt(row: dict[str, Any]) -> str | None:
    def refuse(name: str) -> None:
        raise ValueError(name)

    if len(row["prompt_id"]) != 32 or not row["messages"]:
        return f"prompt {row['prompt_id']!r} with {len(row['messages'])} messages"
    if row["messages"][-1]["role"] not in ("user", "tool"):
        return f"the last turn is of {row['messages'][-1]['role']!r}"
    if any(not isinstance(message["content"], str) or not message["role"] for message in row["messages"]):
        return f"messages {row['messages']}"
    texts = [row["metadata"], *([row["tools"]] if row["tools"] is not None else [])]
    calls = [call for message in row["messages"] for call in message["tool_calls"] or ()]
    try:
        values = [json.loads(text, parse_constant=refuse) for text in texts]
        arguments = [json.loads(call["function"]["arguments"], parse_constant=refuse) for call in calls]
    except ValueError as error:
        return f"invalid JSON ({error}) in {row}"
    if not isinstance(values[0], dict) or not all(isinstance(value, list) for value in values[1:]):
        return f"metadata or tools {values}"
    return None if all(isinstance(value, dict) for value in arguments) else f"arguments {arguments}"
