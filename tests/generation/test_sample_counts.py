"""How many samples a prompt gets, and groups that are extended."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from grao_pipeline.errors import GraoError, InputError, MismatchError, UsageError
from grao_pipeline.generation.engines.base import Engine, FakeEngine
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.generation.common import untempered_logprobs

Rows = list[dict[str, Any]]


@pytest.fixture
def budgeted_prompts(tmp_path: Path) -> str:
    """Four prompts; the metadata of three say how many samples they want."""
    rows = [tiny.prompt_row(f"Say {index}.", f"It is {index}.", budget=index) for index in (1, 2, 5)]
    return tiny.write_table(tmp_path / "budgeted", "prompts", [*rows, tiny.prompt_row("Say anything.")])


def run(prompts: str, out: Path, model: Path, engine: Engine | None = None, **options: Any) -> Rows:
    chosen = GenerateOptions(
        **{"model": str(model), "samples": 3, "max_new_tokens": 8, "prompts_per_part": 3, **options}
    )
    generate_groups(prompts, str(out), chosen, make_engine=lambda _: engine or FakeEngine())
    rows: Rows = open_table(str(out), "groups").arrow().to_pylist()
    return rows


def sizes(rows: Rows) -> list[int]:
    return [len(row["completions"]) for row in rows]


def ids(prompts: str) -> list[str]:
    prompt_ids: list[str] = open_table(prompts, "prompts").arrow().column("prompt_id").to_pylist()
    return prompt_ids


def test_a_field_of_the_metadata_gives_the_number_of_samples(
    budgeted_prompts: str, model: Path, tmp_path: Path
) -> None:
    assert sizes(run(budgeted_prompts, tmp_path / "out", model, samples_field="budget")) == [1, 2, 5, 3]


def test_a_field_that_is_not_a_number_is_an_error(model: Path, tmp_path: Path) -> None:
    prompts = tiny.write_table(tmp_path / "prompts", "prompts", [tiny.prompt_row("Go.", budget="many")])
    with pytest.raises(InputError, match="metadata 'budget' is 'many', not a number of samples"):
        run(prompts, tmp_path / "out", model, samples_field="budget")


def write_jsonl(path: Path, frame: pl.DataFrame) -> None:
    frame.write_ndjson(path)


def write_csv(path: Path, frame: pl.DataFrame) -> None:
    frame.write_csv(path)


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    frame.write_parquet(path)


@pytest.mark.parametrize(
    ("name", "write"), [("b.jsonl", write_jsonl), ("b.csv", write_csv), ("b.parquet", write_parquet)]
)
def test_a_file_gives_the_number_of_samples_over_the_metadata(
    name: str, write: Callable[[Path, pl.DataFrame], None], budgeted_prompts: str, model: Path, tmp_path: Path
) -> None:
    frame = pl.DataFrame({"prompt_id": [ids(budgeted_prompts)[i] for i in (3, 1)], "samples": [7, 4]})
    write(tmp_path / name, frame)
    options: dict[str, Any] = {"samples_file": str(tmp_path / name), "samples_field": "budget"}
    assert sizes(run(budgeted_prompts, tmp_path / "out", model, **options)) == [1, 4, 5, 7]


def test_another_samples_file_changes_the_fingerprint(budgeted_prompts: str, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "budget.jsonl"
    for samples in (2, 4):
        path.write_text(json.dumps({"prompt_id": ids(budgeted_prompts)[0], "samples": samples}))
        if samples == 2:
            run(budgeted_prompts, tmp_path / "out", model, samples_file=str(path))
    with pytest.raises(MismatchError, match="input samples was"):
        run(budgeted_prompts, tmp_path / "out", model, samples_file=str(path))


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("a.txt", "", UsageError, r"a\.txt does not end in \.jsonl, \.csv, \.parquet"),
        ("absent.csv", None, InputError, "No such file or directory"),
        (
            "a.csv",
            "prompt_id,number\na,1\n",
            InputError,
            "Cannot read the columns prompt_id and samples",
        ),
        ("a.csv", "prompt_id,samples\na,-1\n", InputError, r"\('a', -1\) is not a prompt ID and a number of samples"),
        ("a.csv", "prompt_id,samples\na,1\na,2\n", InputError, "prompt ID a appears twice"),
        (
            "a.csv",
            "prompt_id,samples\na,few\n",
            InputError,
            "Cannot read the columns prompt_id and samples",
        ),
    ],
)
def test_a_wrong_samples_file_is_an_error(
    name: str, text: str | None, error: type[GraoError], message: str, prompts: str, model: Path, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        run(prompts, tmp_path / "out", model, samples_file=str(tmp_path / name))


def test_no_samples_for_a_prompt_without_a_group_is_an_error(model: Path, tmp_path: Path) -> None:
    prompts = tiny.write_table(tmp_path / "prompts", "prompts", [tiny.prompt_row("Go.", budget=0)])
    with pytest.raises(InputError, match="gets 0 samples; a group needs at least one"):
        run(prompts, tmp_path / "out", model, samples_field="budget")


@pytest.mark.slow
def test_an_extended_group_has_its_old_samples_unchanged_before_new_ones(
    prompts: str, model: Path, transformers_engine: Engine, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"temperature": 1.0, "max_new_tokens": 12}
    old = run(prompts, tmp_path / "old", model, transformers_engine, samples=4, **options)
    new = run(prompts, tmp_path / "new", model, transformers_engine, samples=2, extend=str(tmp_path / "old"), **options)
    for before, after in zip(old, new, strict=True):
        for column in ("completions", "completion_token_ids", "completion_logprobs", "finish_reasons"):
            assert after[column][:4] == before[column]
            assert len(after[column]) == 6
        assert after["group_id"] != before["group_id"]
        added = after["completion_token_ids"][4:]
        assert all(token_ids not in before["completion_token_ids"] for token_ids in added)  # other noise
        for token_ids, logprobs in zip(added, after["completion_logprobs"][4:], strict=True):
            expected = untempered_logprobs(model, after["prompt_token_ids"], token_ids)
            assert logprobs == pytest.approx(expected, abs=2e-5)


def test_only_new_samples_are_sampled_and_prompts_without_a_group_get_one(
    budgeted_prompts: str, model: Path, tmp_path: Path
) -> None:
    """The first two prompts have groups; budgets of 1, 2, 5 and (no budget) 3 samples are added, and 0 to none."""
    table = open_table(budgeted_prompts, "prompts").arrow()
    few = tiny.write_table(tmp_path / "few", "prompts", table.slice(0, 2).to_pylist())
    run(few, tmp_path / "old", model, samples=2)
    extend: dict[str, Any] = {"extend": str(tmp_path / "old"), "samples_field": "budget"}
    assert sizes(run(budgeted_prompts, tmp_path / "new", model, **extend)) == [2 + 1, 2 + 2, 5, 3]
    budget = tmp_path / "budget.csv"
    budget.write_text("prompt_id,samples\n" + "".join(f"{prompt_id},0\n" for prompt_id in ids(few)))
    engine = FakeEngine()
    rows = run(few, tmp_path / "same", model, engine, extend=str(tmp_path / "old"), samples_file=str(budget))
    assert (sizes(rows), engine.num_requests) == ([2, 2], 0)


@pytest.mark.slow
def test_a_group_of_another_policy_or_prompt_is_not_extended(prompts: str, model: Path, tmp_path: Path) -> None:
    run(prompts, tmp_path / "old", model)
    other = tiny.make_model(tmp_path / "other", seed=1)
    with pytest.raises(MismatchError, match="extend it with the model that sampled it"):
        run(prompts, tmp_path / "out", other, extend=str(tmp_path / "old"))
    template = tmp_path / "template.jinja"
    template.write_text(
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}:{% endif %}"
    )
    with pytest.raises(MismatchError, match="was sampled from other token ids"):
        run(prompts, tmp_path / "out", model, extend=str(tmp_path / "old"), chat_template=str(template))
