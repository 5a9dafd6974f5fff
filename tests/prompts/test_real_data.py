"""Real data, to the last row: HH-RLHF and GSM8K."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.messages import plain_messages
from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.storage.reader import open_table


def rows_of(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def hh(real_data: Path) -> list[dict[str, str]]:
    return rows_of(real_data / "hh-rlhf" / "harmless-base.jsonl.gz")


@pytest.fixture(scope="module")
def gsm8k(real_data: Path) -> list[dict[str, str]]:
    return rows_of(real_data / "gsm8k" / "train.jsonl.gz")


def usable(row: dict[str, str]) -> bool:
    """By other means: what precedes the last answer is shared and ends in a human turn, and the answer has a text."""
    chosen, rejected = (row[name].rpartition("\n\nAssistant:") for name in ("chosen", "rejected"))
    ends_in_human = chosen[0].rfind("\n\nHuman:") > chosen[0].rfind("\n\nAssistant:")
    answers = chosen[2], rejected[2]
    is_shared = chosen[0] == rejected[0] and not any("\n\nHuman:" in answer for answer in answers)
    return is_shared and ends_in_human and bool(answers[0].strip())


def build_twice(directory: Path, rows: list[dict[str, str]], options: dict[str, Any]) -> dict[str, bytes]:
    """Build from a gzip file, twice, and return the bytes of the first output once they are those of the second."""
    with gzip.open(directory / "rows.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    trees = []
    for name in ("first", "second"):
        out = directory / name
        build_prompts(str(directory / "rows.jsonl.gz"), str(out), PromptsOptions(**options))
        trees.append({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert trees[0] == trees[1]
    return trees[0]


def test_every_row_of_hh_is_accounted_for_and_the_runs_are_byte_identical(
    tmp_path: Path, hh: list[dict[str, str]]
) -> None:
    unusable = [index for index, row in enumerate(hh) if not usable(row)]
    assert unusable
    build_twice(tmp_path, hh, {"rejects": str(tmp_path / "rejects.jsonl")})
    summary = build_prompts(str(tmp_path / "rows.jsonl.gz"), str(tmp_path / "first"), PromptsOptions())
    kept = len(hh) - len(unusable)
    assert (summary.read, summary.kept, summary.format, summary.cached) == (len(hh), kept, "hh", True)
    empty = sum(row["chosen"].rstrip().endswith("\n\nAssistant:") for row in hh)
    assert summary.dropped["the reference is empty"] == empty
    assert sum(summary.dropped.values()) == len(unusable)
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [entry["row"] for entry in rejects] == unusable
    assert all(entry["data"] == hh[entry["row"]] for entry in rejects)


def test_a_prompt_of_hh_holds_the_whole_transcripts(tmp_path: Path, hh: list[dict[str, str]]) -> None:
    build_twice(tmp_path, hh, {})
    kept = [row for row in hh if usable(row)]
    table = open_table(str(tmp_path / "first"), "prompts").arrow().to_pylist()
    for row, prompt in zip(kept, table, strict=True):
        turns = [f"\n\n{'Human' if m['role'] == 'user' else 'Assistant'}: {m['content']}" for m in prompt["messages"]]
        for answer, transcript in ((prompt["reference"], row["chosen"]), (prompt["rejected"], row["rejected"])):
            assert ("".join(turns) + f"\n\nAssistant: {answer or ''}").split() == transcript.split()
        assert prompt["messages"][-1]["role"] == "user"
        # The usual cut of this data set: the answer follows the last marker.
        assert prompt["reference"] == row["chosen"].rpartition("\n\nAssistant:")[2].strip()


def test_every_row_of_gsm8k_is_kept_with_its_number(tmp_path: Path, gsm8k: list[dict[str, str]]) -> None:
    build_twice(tmp_path, gsm8k, {})
    table = open_table(str(tmp_path / "first"), "prompts").arrow().to_pylist()
    for row, prompt in zip(gsm8k, table, strict=True):
        assert plain_messages(prompt["messages"]) == [{"role": "user", "content": row["question"]}]
        assert prompt["reference"] == row["answer"]
        assert json.loads(prompt["metadata"]) == {"answer": row["answer"].split("#### ")[1].replace(",", "")}


def test_held_out_gsm8k_is_disjoint_and_complete(tmp_path: Path, gsm8k: list[dict[str, str]]) -> None:
    build_twice(tmp_path, gsm8k, {"eval_fraction": 0.1})
    sides = [open_table(str(tmp_path / "first" / side), "prompts").arrow() for side in ("train", "eval")]
    questions = [{messages[0]["content"] for messages in side.column("messages").to_pylist()} for side in sides]
    assert not questions[0] & questions[1]
    assert sum(side.num_rows for side in sides) == len(gsm8k)
    # Binomial(n, 0.1); of 7,473 rows: mean 747, standard deviation 26.
    assert abs(sides[1].num_rows - 0.1 * len(gsm8k)) < 4 * (0.09 * len(gsm8k)) ** 0.5
