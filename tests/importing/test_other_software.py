"""Files as other software writes them: RLHFlow, verl, OpenRLHF, TRL's logs and labels, preference pairs."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from grao_pipeline.importing.rendered import turns_of_rendered
from grao_pipeline.messages import plain_messages
from tests import tiny
from tests.importing.common import read, source


def imported(path: Path, out: Path, *options: object) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """(summary, groups, rewards) of an import."""
    summary = tiny.grao_json("import", path, out, *options)
    has_scores = (out / "scores").is_dir()
    return summary, read(out / "groups"), [row["rewards"] for row in read(out / "scores")] if has_scores else []


def turns(group: dict[str, Any]) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in plain_messages(group["messages"])]


def test_both_files_of_rlhflow_become_groups(tmp_path: Path) -> None:
    """`gen_hf2.py` writes a line per prompt, whose prompt is a conversation; `get_rewards.py` an envelope of LMFlow."""
    question = [{"role": "user", "content": "q"}]
    samples = source(tmp_path, [{"prompt": question, "responses": ["a", "b"]}], "gen.jsonl")
    _, [group], rewards = imported(samples, tmp_path / "gen")
    assert (turns(group), group["completions"], rewards) == ([("user", "q")], ["a", "b"], [])
    rated = tmp_path / "rated.json"
    rows = [{"prompt": "q", "responses": ["a", "b"], "rewards": [0.5, -1.25]}]
    rated.write_text(json.dumps({"type": "text_only", "instances": rows}))
    _, [group], rewards = imported(rated, tmp_path / "rated")
    assert (group["completions"], rewards) == (["a", "b"], [[0.5, -1.25]])


def test_a_rollout_dump_of_verl_becomes_groups(tmp_path: Path) -> None:
    """`_dump_generations`: decoded prompts and answers, ground truth, score, step, and what the reward adds."""
    qwen = "system\nYou are helpful.\nuser\n2+2?\nassistant\n"
    rows: list[dict[str, Any]] = [
        {"input": qwen, "output": "4", "gts": "4", "score": 1.0, "step": 7, "acc": True},
        {"input": qwen, "output": "5", "gts": "4", "score": 0.0, "step": 7, "acc": False},
        {"input": "Human: hi Bot:", "output": "hello", "gts": None, "score": 0.0, "step": 7, "acc": False},
    ]
    summary, groups, rewards = imported(source(tmp_path, rows, "7.jsonl"), tmp_path / "out")
    assert [turns(group) for group in groups] == [
        [("system", "You are helpful."), ("user", "2+2?")],
        [("user", "Human: hi Bot:")],
    ]
    assert [group["completions"] for group in groups] == [["4", "5"], ["hello"]]
    assert rewards == [[1.0, 0.0], [0.0]]
    assert json.loads(groups[0]["metadata"]) == {"gts": "4", "step": 7}
    assert summary["read_as"] == {"input": "prompt", "output": "responses", "score": "rewards"}
    assert any("2 were divided into turns, 1 are one turn" in note for note in summary["notes"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user\nq\nassistant\n", [("user", "q")]),
        ("user\nq\nassistant\n<think>\n", [("user", "q")]),
        ("system\ns\n\nt\nuser\nq\nr\nassistant\n", [("system", "s\n\nt"), ("user", "q\nr")]),
        ("user\nq\nassistant\na\nuser\nr\nassistant\n", None),  # several turns: any of them may hold such a line
        ("the user\nq\nassistant\n", None),
        ("user\nq", None),
    ],
)
def test_only_one_unmistakable_turn_is_divided(text: str, expected: list[tuple[str, str]] | None) -> None:
    divided = turns_of_rendered(text)
    assert expected == (None if divided is None else [(turn["role"], turn["content"]) for turn in divided])


def test_answers_of_openrlhf_become_groups(tmp_path: Path) -> None:
    """`batch_inference.py --eval_task rm` writes input, output and reward."""
    rows = [{"input": "q", "output": "a", "reward": 0.5}, {"input": "q", "output": "b", "reward": -0.5}]
    _, [group], rewards = imported(source(tmp_path, rows), tmp_path / "out")
    assert (turns(group), group["completions"], rewards) == ([("user", "q")], ["a", "b"], [[0.5, -0.5]])


def test_a_log_of_trl_with_several_rewards_says_how_to_choose_one(tmp_path: Path) -> None:
    """pandas writes the null of a sample that no reward function judged as NaN."""
    table = {
        "step": [1, 1],
        "prompt": [[{"role": "user", "content": "q"}]] * 2,
        "completion": [[{"role": "assistant", "content": text}] for text in "ab"],
        "accuracy_reward": [1.0, None],
        "format_reward": [0.0, 1.0],
        "advantage": [0.7, -0.7],
    }
    path = tmp_path / "completions_00001.parquet"
    pd.DataFrame(table).to_parquet(path)
    summary, [group], rewards = imported(path, tmp_path / "all")
    assert (group["completions"], rewards) == (["a", "b"], [])
    assert "--map accuracy_reward=reward" in " ".join(summary["notes"])
    _, _, rewards = imported(path, tmp_path / "one", "--map", "accuracy_reward=reward")
    assert rewards == [[1.0, None]]


def test_labels_of_kto_are_rewards_of_one_and_zero(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": text, "label": text == "good"} for text in ("good", "bad")]
    _, [group], rewards = imported(source(tmp_path, rows), tmp_path / "out")
    assert (group["completions"], rewards) == (["good", "bad"], [[1.0, 0.0]])


def answers(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("row", "rewards", "metadata"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b", "topic": "x"}, [1, 0], {"topic": "x"}),
        ({"chosen": answers("q", "a"), "rejected": answers("q", "b")}, [1, 0], {}),
        (  # HuggingFaceH4/ultrafeedback_binarized
            {"prompt": "q", "chosen": answers("q", "a"), "rejected": answers("q", "b"), "messages": answers("q", "a")}
            | {"score_chosen": 8.5, "score_rejected": 4.0},
            [8.5, 4.0],
            {},
        ),
        (  # argilla/ultrafeedback-binarized-preferences-cleaned
            {"prompt": "q", "chosen": answers("q", "a"), "rejected": answers("q", "b"), "source": "sharegpt"}
            | {"chosen-rating": 5.0, "rejected-rating": 3.75, "chosen-model": "gpt-4"},
            [5.0, 3.75],
            {"source": "sharegpt", "chosen-model": "gpt-4"},
        ),
    ],
)
def test_a_preference_pair_is_a_group_of_two(
    tmp_path: Path, row: dict[str, Any], rewards: list[float], metadata: dict[str, str]
) -> None:
    summary, [group], scores = imported(source(tmp_path, [row]), tmp_path / "out")
    assert (turns(group), group["completions"], scores) == ([("user", "q")], ["a", "b"], [rewards])
    assert json.loads(group["metadata"]) == metadata
    assert (summary["rows"], summary["samples"]) == ("pairs", 2)


def test_a_pair_that_is_none_is_dropped_for_its_reason(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": "q", "chosen": "a", "rejected": text} for text in ("b", "a", None)]
    summary, groups, _ = imported(source(tmp_path, rows), tmp_path / "out")
    assert len(groups) == 1
    assert summary["dropped"] == {"chosen and rejected are the same": 1, "chosen or rejected has no text": 1}


def test_several_rated_completions_become_one_group(tmp_path: Path) -> None:
    """openbmb/UltraFeedback has objects in a column, distilabel (argilla) has lists side by side."""
    completions = [
        {"response": "a", "overall_score": 7.5, "model": "x"},
        {"response": "b", "overall_score": 3.0, "model": "y"},
    ]
    bmb: dict[str, Any] = {"instruction": "q", "completions": completions}
    distilabel: dict[str, Any] = {"instruction": "r", "generations": ["a", "b", "c"], "ratings": [5.0, 1.0, None]}
    for row, expected in ((bmb, [[7.5, 3.0]]), (distilabel, [[5.0, 1.0, None]])):
        _, _, rewards = imported(source(tmp_path, [row]), tmp_path / str(row["instruction"]))
        assert rewards == expected
