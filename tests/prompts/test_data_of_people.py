"""A table of small files as people have them: what `grao prompts` makes of each, or why it is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from grao_pipeline.errors import GraoError, InputError, UsageError
from grao_pipeline.messages import plain_messages
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.prompts.summary import PromptsSummary
from grao_pipeline.storage.reader import open_table

USER = {"role": "user", "content": "Say 0"}
ASSISTANT = {"role": "assistant", "content": "0"}
CALL = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": '{"city": "Paris"}'}}
TOOL = {"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}


class Outcome(NamedTuple):
    """The first prompt of a table: (role, content) of its messages, its reference, rejected answer and metadata."""

    format: str
    messages: list[tuple[str, str]]
    reference: str | None = None
    rejected: str | None = None
    metadata: Mapping[str, Any] = MappingProxyType({})


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


QUESTION = [("user", "Say 0")]
TABLE: list[tuple[str, str, Outcome]] = [
    (
        "alpaca.json",
        '[{"instruction": "Say", "input": "0", "output": "0"}]',
        Outcome("alpaca", [("user", "Say\n\n0")], "0"),
    ),
    (
        "plain_alpaca.jsonl",
        lines({"instruction": "Say 0", "input": "", "output": "0"}),
        Outcome("alpaca", QUESTION, "0"),
    ),
    (
        "dolly.jsonl",
        lines({"instruction": "Say", "context": "0", "response": "0", "category": "x"}),
        Outcome("alpaca", [("user", "Say\n\n0")], "0", None, {"category": "x"}),
    ),
    (
        "sharegpt.jsonl",
        lines({"conversations": [{"from": "human", "value": "Say 0"}, {"from": "gpt", "value": "0"}]}),
        Outcome("sharegpt", QUESTION, "0"),
    ),
    ("roles.jsonl", lines({"conversations": [USER, ASSISTANT]}), Outcome("sharegpt", QUESTION, "0")),
    (
        "llama_factory.jsonl",
        lines({"conversations": [{"from": "human", "value": "Say 0"}], "system": "Be kind."}),
        Outcome("sharegpt", [("system", "Be kind."), *QUESTION]),
    ),
    (
        "orca_pairs.jsonl",
        lines({"system": "Be kind.", "question": "Say 0", "chosen": "0", "rejected": "1"}),
        Outcome("preference", [("system", "Be kind."), *QUESTION], "0", "1"),
    ),
    (
        "binarized.jsonl",
        lines(
            {
                "prompt": "Say 0",
                "chosen": [USER, ASSISTANT],
                "rejected": [USER, {**ASSISTANT, "content": "1"}],
                "messages": [USER, ASSISTANT],
                "score_chosen": 8.5,
            }
        ),
        Outcome("preference", QUESTION, "0", "1", {"score_chosen": 8.5}),
    ),
    (
        "ultrafeedback.jsonl",
        lines(
            {
                "instruction": "Say 0",
                "completions": [
                    {"response": "2", "overall_score": 5},
                    {"response": "1", "overall_score": "3.0"},
                    {"response": "0", "overall_score": 9},
                ],
            }
        ),
        Outcome("ultrafeedback", QUESTION, "0", "1", {"score_reference": 9, "score_rejected": 3}),
    ),
    (
        "kto.jsonl",
        lines(
            {"prompt": "Say 0", "completion": "1", "label": False},
            {"prompt": "Say 0", "completion": "0", "label": True},
        ),
        Outcome("kto", QUESTION, "0", "1"),
    ),
    (
        "kto_of_messages.jsonl",
        lines({"messages": [USER, ASSISTANT], "kto_tag": False}),
        Outcome("kto", QUESTION, None, "0"),
    ),
    ("labels.csv", "prompt,completion,label\nSay 0,1,False\nSay 0,0,True\n", Outcome("kto", QUESTION, "0", "1")),
    (
        "verl.jsonl",
        lines({"prompt": [USER], "reward_model": {"style": "rule", "ground_truth": "0"}}),
        Outcome("verl", QUESTION, None, None, {"answer": "0", "reward_model": {"style": "rule", "ground_truth": "0"}}),
    ),
    (
        "batch.jsonl",
        lines({"custom_id": "r0", "body": {"model": "m", "messages": [USER]}}),
        Outcome("openai-batch", QUESTION, None, None, {"custom_id": "r0", "body": {"model": "m"}}),
    ),
    (
        "responses_batch.jsonl",
        lines({"custom_id": "r0", "body": {"input": "Say 0", "instructions": "Be kind."}}),
        Outcome("openai-batch", [("system", "Be kind."), *QUESTION], None, None, {"custom_id": "r0", "body": {}}),
    ),
    (
        "openai_preference.jsonl",
        lines(
            {
                "input": {"messages": [USER]},
                "preferred_output": [ASSISTANT],
                "non_preferred_output": [USER | {"role": "assistant"}],
            }
        ),
        Outcome("openai-preference", QUESTION, "0", "Say 0"),
    ),
    ("weight.jsonl", lines({"messages": [USER, {**ASSISTANT, "weight": 0}]}), Outcome("messages", QUESTION)),
    (
        "parts.jsonl",
        lines(
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Say"}, {"type": "text", "text": "0"}]}
                ]
            }
        ),
        Outcome("messages", [("user", "Say\n0")]),
    ),
    (
        "text_of_list.csv",
        'messages,id\n"[{""role"": ""user"", ""content"": ""Say 0""}]",7\n',
        Outcome("messages", QUESTION, metadata={"id": "7"}),
    ),
    ("wrapped.json", json.dumps({"data": [{"prompt": "Say 0"}], "version": 1}), Outcome("prompt-completion", QUESTION)),
    (
        "pandas.json",
        '{"question":{"0":"Say 0"},"answer":{"0":"0"}}',
        Outcome("question-answer", QUESTION, "0", metadata={"answer": "0"}),
    ),
    (
        "semicolons.csv",
        "question;answer\nSay 0;0\n",
        Outcome("question-answer", QUESTION, "0", metadata={"answer": "0"}),
    ),
    (
        "bars.csv",
        "question|answer\nSay 0|0, or 1\n",
        Outcome("question-answer", QUESTION, "0, or 1", metadata={"answer": "0, or 1"}),
    ),
    ("case.csv", "Question,Answer\nSay 0,0\n", Outcome("question-answer", QUESTION, "0", metadata={"answer": "0"})),
    (
        "spaces.csv",
        'question, answer\nSay 0, "0, or 1"\n',
        Outcome("question-answer", QUESTION, "0, or 1", metadata={"answer": "0, or 1"}),
    ),
    ("response.jsonl", lines({"instruction": "Say 0", "response": "0"}), Outcome("prompt-completion", QUESTION, "0")),
    (
        "query.jsonl",
        lines({"query": "Say 0", "answer": "0"}),
        Outcome("question-answer", QUESTION, "0", metadata={"answer": "0"}),
    ),
    (
        "worked.jsonl",
        lines({"problem": "Say 0", "solution": "It is 0.", "answer": "0"}),
        Outcome("prompt-completion", QUESTION, "It is 0.", metadata={"answer": "0"}),
    ),
]


def read(directory: Path, name: str, content: str, **options: Any) -> tuple[PromptsSummary, list[dict[str, Any]]]:
    (directory / name).write_text(content)
    summary = build_prompts(
        str(directory / name), str(directory / "out"), PromptsOptions(**options), RecordedProgress()
    )
    rows = open_table(str(directory / "out"), "prompts").arrow().to_pylist()
    return summary, [{**row, "messages": plain_messages(row["messages"])} for row in rows]


@pytest.mark.parametrize(("name", "content", "outcome"), TABLE, ids=[name for name, _, _ in TABLE])
def test_a_file_becomes_the_prompt_that_people_expect(
    tmp_path: Path, name: str, content: str, outcome: Outcome
) -> None:
    summary, (row,) = read(tmp_path, name, content)
    turns = [(message["role"], message["content"]) for message in row["messages"]]
    metadata = json.loads(row["metadata"])
    assert Outcome(summary.format, turns, row["reference"], row["rejected"], metadata) == outcome


REFUSED: list[tuple[str, str, str]] = [
    ("samples.jsonl", lines({"prompt": "a", "completion": "b", "reward": 0.5}), r"one sample.*`grao import`"),
    (
        "generations.jsonl",
        lines({"instruction": "a", "generations": ["b"]}),
        r"`grao import`.*--map generations=responses",
    ),
    ("batch_output.jsonl", lines({"custom_id": "r0", "response": {"body": {}}}), "output file of OpenAI's batch API"),
    ("text.jsonl", lines({"text": "a"}), "where the prompt ends"),
    ("typo.jsonl", lines({"promt": "a", "completion": "b"}), r"Do you mean --map promt=prompt\?"),
    ("typo_of_messages.jsonl", lines({"mesages": [USER]}), r"Do you mean --map mesages=messages\?"),
    (
        "two.jsonl",
        lines({"instruction": "a", "query": "b", "response": "c"}),
        r"--map instruction=prompt --map response=completion\?",
    ),
    (
        "splits.json",
        json.dumps({"data": [{"prompt": "a"}], "dev": [{"prompt": "b"}]}),
        "several lists of rows: data, dev",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), REFUSED, ids=[name for name, _, _ in REFUSED])
def test_a_file_that_is_no_set_of_prompts_is_refused_with_the_way_out(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises((UsageError, InputError), match=message):
        read(tmp_path, name, content)


def test_samples_are_references_only_where_that_is_asked_for(tmp_path: Path) -> None:
    content = lines({"prompt": "a", "completion": "b", "reward": 0.5})
    _, (row,) = read(tmp_path, "a.jsonl", content, format="prompt-completion")
    assert row["reference"] == "b"


def test_nan_is_a_missing_value(tmp_path: Path) -> None:
    content = (
        '{"question": "a", "answer": NaN, "n": 1}\n{"question": "b", "answer": "1", "n": NaN, "all": [NaN, 2.5]}\n'
    )
    summary, (row,) = read(tmp_path, "a.jsonl", content)
    assert summary.dropped == {"answer is missing": 1}
    assert json.loads(row["metadata"]) == {"answer": "1", "all": [None, 2.5]}


def test_an_infinite_answer_is_no_text(tmp_path: Path) -> None:
    summary, _ = read(tmp_path, "a.jsonl", '{"question": "a", "answer": Infinity}\n{"question": "b", "answer": 1}\n')
    assert summary.dropped == {"answer is not text": 1}


def test_a_dotted_column_copies_a_nested_value(tmp_path: Path) -> None:
    content = lines({"prompt": "a", "reward_model": {"truth": [{"text": "7"}]}}, {"prompt": "b", "reward_model": None})
    _, rows = read(tmp_path, "a.jsonl", content, map=["reward_model.truth.0.text=answer"])
    assert [json.loads(row["metadata"]).get("answer") for row in rows] == ["7", None]
    assert json.loads(rows[0]["metadata"])["reward_model"] == {"truth": [{"text": "7"}]}


def test_a_misspelled_column_of_a_mapping_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean Question"):
        read(tmp_path, "a.jsonl", lines({"Question": "a", "label": 1}), map=["question=prompt"])


@pytest.mark.parametrize("format", ["auto", "prompt-completion"])
def test_a_misspelled_field_of_a_mapping_is_answered_with_the_mapping_that_was_meant(
    tmp_path: Path, format: str
) -> None:
    content = lines({"text": "a", "number": 1})
    with pytest.raises(UsageError, match=r"Do you mean --map text=prompt\?"):
        read(tmp_path, "a.jsonl", content, map=["text=prompts"], format=format)


def test_a_named_format_that_lacks_a_column_shows_the_mapping(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Do you mean --map query=question"):
        read(tmp_path, "a.jsonl", lines({"query": "a", "answer": "b"}), format="question-answer")


def test_an_image_part_is_refused_by_its_name(tmp_path: Path) -> None:
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    summary, _ = read(tmp_path, "a.jsonl", lines({"messages": [image]}, {"messages": [USER]}))
    assert summary.dropped == {"messages has an image part; only text parts are supported": 1}


def test_tools_reasoning_and_what_is_lost_are_counted(tmp_path: Path) -> None:
    calls = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "18C"}
    thoughtful = {"role": "assistant", "content": "18C", "reasoning": "The tool says so.", "refusal": "no"}
    rows = [
        {"messages": [USER, calls, result, thoughtful], "tools": [TOOL]},
        {"messages": [USER, calls], "tools": json.dumps([TOOL])},
    ]
    summary, (first, second) = read(tmp_path, "a.jsonl", lines(*rows))
    assert first["messages"] == [USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, result]
    assert (first["reference"], first["reference_reasoning"]) == ("18C", "The tool says so.")
    assert json.loads(first["tools"]) == json.loads(second["tools"]) == [TOOL]
    assert second["reference"] is None
    assert (summary.references, summary.tools, summary.reasoning) == (1, 2, 1)
    assert summary.lost == {"refusal of a turn": 1, "tool_calls of the answer": 1}
    assert summary.notes == ()


def test_a_note_names_the_column_as_the_source_calls_it(tmp_path: Path) -> None:
    summary, _ = read(tmp_path, "a.jsonl", lines({"prompt": "a", "gold": "1"}), map=["gold=answer"])
    assert "If column 'gold' holds the reference answer, give --map gold=reference." in summary.notes
    row = {"prompt": [{"role": "user", "content": "a"}], "reward_model": {"ground_truth": "1"}}
    (tmp_path / "verl").mkdir()
    summary, _ = read(tmp_path / "verl", "b.jsonl", lines(row))
    assert any("--map reward_model.ground_truth=reference" in note for note in summary.notes)


def test_the_summary_says_where_columns_went(tmp_path: Path) -> None:
    content = lines({"prompt": "a", "answer": "1", "level": 2}, {"prompt": "b", "answer": "1", "context": "c"})
    summary, _ = read(tmp_path, "a.jsonl", content)
    assert summary.metadata == {"answer": 2, "level": 1, "context": 1}
    assert summary.files == ("a.jsonl",)
    assert any("--map answer=reference" in note for note in summary.notes)
    assert any("Column 'context' went to the metadata" in note for note in summary.notes)
    assert summary.for_people()["metadata"] == "answer, level (1), context (1)"


def test_a_reference_and_its_reasoning_may_be_in_columns_of_their_own(tmp_path: Path) -> None:
    content = lines(
        {"prompt": [USER], "reward_model": {"ground_truth": "0"}, "extra": {"cot": "Hm. ", "text": "It is 0."}}
    )
    options = {"map": ["extra.text=reference", "extra.cot=reference_reasoning"]}
    summary, (row,) = read(tmp_path, "a.jsonl", content, **options)
    assert (row["reference"], row["reference_reasoning"], summary.format) == ("It is 0.", "Hm.", "verl")
    assert set(json.loads(row["metadata"])) == {"answer", "extra", "reward_model"}


@pytest.mark.slow
def test_a_sample_is_a_random_subset_in_the_order_of_the_source(tmp_path: Path) -> None:
    rows = lines(*({"prompt": str(index)} for index in range(100)))
    (tmp_path / "a.jsonl").write_text(rows)

    def sampled(seed: int, **options: Any) -> list[int]:
        out = tmp_path / f"{seed}-{options}"
        build_prompts(str(tmp_path / "a.jsonl"), str(out), PromptsOptions(sample=10, seed=seed, **options))
        messages = open_table(str(out), "prompts").arrow().column("messages").to_pylist()
        return [int(turns[0]["content"]) for turns in messages]

    subsets = [sampled(seed) for seed in range(30)]
    assert all(len(subset) == 10 and subset == sorted(subset) for subset in subsets)
    assert subsets[0] == sampled(0)
    # The mean of 300 draws of 0 … 99 is 49.5 with standard deviation 28.9 / √300 = 1.67.
    assert abs(sum(map(sum, subsets)) / 300 - 49.5) < 4 * 1.67
    assert max(sampled(0, limit=20)) < 20


def test_the_rejects_of_a_sample_have_the_numbers_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(*({"prompt": "" if index else "a"} for index in range(9))))
    rejects = tmp_path / "rejects.jsonl"
    for seed in range(20):
        options = PromptsOptions(sample=3, seed=seed, rejects=str(rejects))
        try:
            build_prompts(str(tmp_path / "a.jsonl"), str(tmp_path / f"out{seed}"), options)
        except GraoError:
            continue  # the only row with a prompt was not drawn
        numbers = [json.loads(line)["row"] for line in rejects.read_text().splitlines()]
        assert len(numbers) == 2
        assert 0 not in numbers
