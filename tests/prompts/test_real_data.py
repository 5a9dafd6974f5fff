"""Real data, to the last row: 1,200 rows of HH-RLHF and 7,473 of GSM8K (or generated rows like them)."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.storage.reader import open_table

DATA = Path(__file__).parents[2].parent / "shared" / "data"
HH_ROWS, HH_EMPTY, HH_REPEATED = 1200, [86, 516, 925, 1103], [667, 763]
GSM8K_ROWS = 7473


def generated_hh() -> list[dict[str, str]]:
    rows = []
    for index in range(HH_ROWS):
        context = "".join(f"\n\nHuman: q{index}.{turn}\n\nAssistant: Human: a{turn}" for turn in range(index % 4))
        if index in HH_REPEATED:
            context += "\n\nHuman: hello\n\nAssistant: hi\n\nAssistant:  and more"
        context += f"\n\nHuman: last {index}\n\nAssistant: "
        rows.append({"chosen": context + ("" if index in HH_EMPTY else "yes"), "rejected": context + "no"})
    return rows


def generated_gsm8k() -> list[dict[str, str]]:
    return [{"question": f"{i} + 1?", "answer": f"It is {i + 1}.\n#### {i + 1:,}"} for i in range(GSM8K_ROWS)]


def rows_of(path: Path, generated: list[dict[str, str]]) -> list[dict[str, str]]:
    if not path.exists():
        return generated
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def hh() -> list[dict[str, str]]:
    return rows_of(DATA / "hh-rlhf" / "harmless-base.jsonl.gz", generated_hh())


@pytest.fixture(scope="module")
def gsm8k() -> list[dict[str, str]]:
    return rows_of(DATA / "gsm8k" / "train.jsonl.gz", generated_gsm8k())


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
    assert len(hh) == HH_ROWS
    build_twice(tmp_path, hh, {"rejects": str(tmp_path / "rejects.jsonl")})
    summary = build_prompts(str(tmp_path / "rows.jsonl.gz"), str(tmp_path / "first"), PromptsOptions())
    assert (summary.read, summary.kept, summary.format, summary.cached) == (HH_ROWS, 1194, "hh", True)
    assert summary.dropped == {"the reference is empty": 4, "one speaker has two turns in a row": 2}
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    # By other means: a chosen transcript that ends in its marker; a marker whose speaker spoke the turn before.
    empty = [index for index, row in enumerate(hh) if row["chosen"].rstrip().endswith("\n\nAssistant:")]
    speakers = [re.findall(r"\n\n(H|A)(?:uman|ssistant):", row["chosen"]) for row in hh]
    repeated = [index for index, turns in enumerate(speakers) if re.search("HH|AA", "".join(turns))]
    assert (empty, repeated) == (HH_EMPTY, HH_REPEATED)
    assert [entry["row"] for entry in rejects] == sorted(empty + repeated)
    assert all(entry["data"] == hh[entry["row"]] for entry in rejects)


def test_a_kept_row_of_hh_holds_the_whole_transcripts(tmp_path: Path, hh: list[dict[str, str]]) -> None:
    build_twice(tmp_path, hh, {})
    kept = [row for index, row in enumerate(hh) if index not in HH_EMPTY + HH_REPEATED]
    table = open_table(str(tmp_path / "first"), "prompts").read().to_pylist()
    for row, prompt in zip(kept, table, strict=True):
        turns = [f"\n\n{'Human' if m['role'] == 'user' else 'Assistant'}: {m['content']}" for m in prompt["messages"]]
        for answer, transcript in ((prompt["reference"], row["chosen"]), (prompt["rejected"], row["rejected"])):
            assert ("".join(turns) + f"\n\nAssistant: {answer or ''}").split() == transcript.split()
        assert prompt["messages"][-1]["role"] == "user"
        # The established cut of this data set: the answer is what follows the last marker.
        assert prompt["reference"] == row["chosen"].rpartition("\n\nAssistant:")[2].strip()


def test_every_row_of_gsm8k_is_kept_with_its_number(tmp_path: Path, gsm8k: list[dict[str, str]]) -> None:
    assert len(gsm8k) == GSM8K_ROWS
    build_twice(tmp_path, gsm8k, {})
    table = open_table(str(tmp_path / "first"), "prompts").read().to_pylist()
    for row, prompt in zip(gsm8k, table, strict=True):
        assert prompt["messages"] == [{"role": "user", "content": row["question"]}]
        assert prompt["reference"] == row["answer"]
        assert json.loads(prompt["metadata"]) == {"answer": row["answer"].split("#### ")[1].replace(",", "")}


def test_held_out_gsm8k_is_disjoint_and_complete(tmp_path: Path, gsm8k: list[dict[str, str]]) -> None:
    build_twice(tmp_path, gsm8k, {"eval_fraction": 0.1})
    sides = [open_table(str(tmp_path / "first" / side), "prompts").read() for side in ("train", "eval")]
    questions = [{messages[0]["content"] for messages in side.column("messages").to_pylist()} for side in sides]
    assert not questions[0] & questions[1]
    assert sum(side.num_rows for side in sides) == GSM8K_ROWS
    # Binomial(7473, 0.1): mean 747, standard deviation 26.
    assert abs(sides[1].num_rows - 747) < 4 * 26
