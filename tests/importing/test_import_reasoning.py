"""Responses under the template of a reasoning model: an open thought is continued and closed exactly once."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from grao_pipeline.errors import InputError
from grao_pipeline.importing.import_groups import import_groups
from grao_pipeline.importing.options import ImportOptions
from grao_pipeline.storage.reader import open_table
from tests import tiny

TEMPLATES = Path(__file__).parents[1] / "models" / "templates"
END = "<|im_end|>"


def source(path: Path, prompt: object, responses: list[str], reference: str | None = None) -> str:
    path.write_text(json.dumps({"prompt": prompt, "responses": responses, "reference": reference}))
    return str(path)


@pytest.mark.parametrize(("reference_reasoning", "reference"), [("required", None), ("empty", "\n</think>\n\n4" + END)])
def test_responses_continue_the_thought_that_the_prompt_opens(
    tmp_path: Path, reference_reasoning: str, reference: str | None
) -> None:
    tiny.make_tokenizer(tmp_path / "tokenizer")
    responses = ["<think>\na\n</think>\n\n4", "5", "b\n</think>\n\n4", "<think>\ncut"]
    rows = source(tmp_path / "rows.jsonl", "2+2?", responses, "4")
    options = ImportOptions.model_validate(
        {
            "tokenizer": str(tmp_path / "tokenizer"),
            "chat_template": str(TEMPLATES / "r1.jinja"),
            "reference_reasoning": reference_reasoning,
        }
    )
    summary = import_groups(rows, str(tmp_path / "out"), options)
    row = open_table(str(tmp_path / "out" / "groups"), "groups").arrow().to_pylist()[0]
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "tokenizer"))
    assert tokenizer.decode(row["prompt_token_ids"]).endswith("<think>\n")
    assert [tokenizer.decode(ids) for ids in row["completion_token_ids"]][:3] == [
        f"a\n</think>\n\n4{END}",
        f"\n</think>\n\n5{END}",
        f"b\n</think>\n\n4{END}",
    ]
    assert tokenizer.decode(row["completion_token_ids"][3]).startswith("cut")
    assert row["reasoning"] == ["a", None, "b", "cut"]
    assert row["answers"] == ["4", "5", "4", None]
    ids = row["reference_token_ids"]
    assert (None if ids is None else tokenizer.decode(ids)) == reference
    assert (summary.references_without_reasoning, summary.responses_without_reasoning) == (1, 1)


def test_a_conversation_that_the_template_refuses_is_dropped_with_the_reason(tmp_path: Path) -> None:
    tiny.make_tokenizer(tmp_path / "tokenizer")
    twice = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    rows = source(tmp_path / "rows.jsonl", twice, ["c"])
    options = ImportOptions(tokenizer=str(tmp_path / "tokenizer"), chat_template=str(TEMPLATES / "gemma3.jinja"))
    with pytest.raises(InputError, match=r"fails on a conversation of user, user: .* must alternate"):
        import_groups(rows, str(tmp_path / "out"), options)


def test_the_ends_of_tokens_count_the_characters_of_the_stored_answer(tmp_path: Path) -> None:
    """The template writes an empty thought before an answer, strips white space, and leaves a header: the stored text
    has none of these. Token IDs that have nothing to do with their text have no ends.
    """
    tiny.make_tokenizer(tmp_path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "tokenizer"))
    rows: list[dict[str, object]] = [{"prompt": "2+2?", "responses": ["4 it is", "\n four"]}]
    rows.append({"prompt": "3+3?", "responses": ["6"], "prompt_ids": [5], "completion_ids": [[90, 91]]})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    template = str(TEMPLATES / "qwen3.jinja")
    options = ImportOptions(tokenizer=str(tmp_path / "tokenizer"), chat_template=template)
    import_groups(str(tmp_path / "rows.jsonl"), str(tmp_path / "out"), options)
    first, second = open_table(str(tmp_path / "out" / "groups"), "groups").arrow().to_pylist()
    for text, shift, ids, ends in zip(
        ["4 it is", "\n four"],
        [len("<think>\n\n</think>\n\n"), len("<think>\n\n</think>\n\n") - len("\n")],
        first["completion_token_ids"],
        first["completion_token_ends"],
        strict=True,
    ):
        decoded = [len(tokenizer.decode(ids[: n + 1], skip_special_tokens=True)) for n in range(len(ids))]
        assert ends == [min(max(length - shift, 0), len(text)) for length in decoded]
        assert ends[-1] == len(text)
    assert second["completion_token_ends"] is None
