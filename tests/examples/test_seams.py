"""The examples of the seams: the command in each docstring runs, and what it writes is right."""

import importlib
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from examples.custom_objective import WeightedReinforce
from grao_pipeline import open_table
from grao_pipeline.testing import (
    group_row,
    make_tiny_model,
    prompt_row,
    score_row,
    write_table,
)
from grao_pipeline.training.micro_batch import objective_inputs
from tests import tiny
from tests.training.oracle import sequence_logprobs
from tests.training.steps import sequence

REWARDS = [[1.0, 0.0, 0.5], [0.0, 0.25, 100.0]]


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: `data`, `models/base`, and in `runs` groups with keywords and their scores."""
    monkeypatch.chdir(tmp_path)
    make_tiny_model("models/base")
    write_table("data", "prompts", [prompt_row("Say hello.", "Hello!"), prompt_row("Count to three.")])
    completions = ["Plum and FIG", "only plums", "nothing"]
    groups = [group_row(f"prompt {n}", completions, keywords=["plum", "fig"]) for n in range(2)]
    write_table("runs/groups", "groups", groups, fingerprint="a" * 32)
    rows = [score_row(row["group_id"], rewards, 0.5) for row, rewards in zip(groups, REWARDS, strict=True)]
    write_table("runs/scores", "scores", rows, options={"name": "points"}, inputs={"groups": "a" * 32})
    return tmp_path


def run_command_of(module: str, *options: str) -> None:
    """Run the command of an example's docstring, with further options."""
    documentation = importlib.import_module(f"examples.{module}").__doc__ or ""
    match = re.search(r"^    grao (.+?(?:\\\n.+?)*)$", documentation, re.MULTILINE)
    assert match is not None
    tiny.grao_json(*shlex.split(match[1].replace("\\\n", " ")), *options)


def test_the_reward_counts_keywords(tables: Path) -> None:
    run_command_of("custom_reward")
    scores = open_table("runs/keywords").arrow().to_pylist()
    assert [row["rewards"] for row in scores] == [[1.0, 0.5, 0.0]] * 2
    assert scores[0]["details"] == ["contains plum, fig", "contains plum", "contains none"]
    assert [row["reference_reward"] for row in scores] == [0.0, 0.0]


def test_the_format_reads_interviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"text": "Q: 1+1?\nA: 2\nQ: And 2+2?\nA: 4", "who": "Ann"}, {"text": "Q: 1+1?"}, {"text": "hello"}]
    Path("interviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_command_of("custom_format")
    (row,) = open_table("data", "prompts").arrow().to_pylist()
    assert [turn["content"] for turn in row["messages"]] == ["1+1?", "2", "And 2+2?"]
    assert (row["reference"], row["metadata"]) == ("4", '{"who":"Ann"}')


def test_a_missing_field_is_an_error_and_no_number(tables: Path) -> None:
    found = tiny.grao(
        "score", "runs/groups", "out", "--reward", "examples.custom_reward:Keywords", "--reward-arg", "field=no"
    )
    assert found.exit_code == 1
    assert "metadata has no list 'no'" in found.stderr


def test_the_estimator_takes_the_distance_from_the_median(tables: Path) -> None:
    run_command_of("custom_estimator")
    advantages = open_table("runs/advantages").arrow().to_pylist()
    for row, rewards in zip(advantages, REWARDS, strict=True):
        median = np.median([*rewards, 0.5])  # with the reference's
        assert row["advantages"] == pytest.approx([(reward - median) / 0.5 for reward in rewards])
        assert row["reference_advantage"] == pytest.approx((0.5 - median) / 0.5)


@pytest.mark.slow
def test_the_engine_samples_with_the_models_log_probs(tables: Path) -> None:
    shutil.rmtree("runs/groups")
    run_command_of("custom_engine", "--samples", "3", "--max-new-tokens", "12", "--temperature", "0.9")
    rows = open_table("runs/groups").arrow().to_pylist()
    model = AutoModelForCausalLM.from_pretrained("models/base")
    for row in rows:
        assert len({tuple(ids) for ids in row["completion_token_ids"]}) == 3
        for ids, logprobs, reason in zip(
            row["completion_token_ids"], row["completion_logprobs"], row["finish_reasons"], strict=True
        ):
            expected = sequence_logprobs(model, row["prompt_token_ids"], ids).tolist()
            assert logprobs == pytest.approx(expected, abs=1e-4)
            assert reason == ("stop" if ids[-1] == 2 else "length")
            assert 2 not in ids[:-1]


@pytest.mark.slow
def test_the_objective_trains(tables: Path) -> None:
    samples = [[5, 6, 2], [7, 2], [8, 9, 10]]
    groups = [group_row(f"prompt {n}", ["text"] * 3, token_ids=samples, policy="p" * 32) for n in range(2)]
    write_table("runs/groups-of-ids", "groups", groups, fingerprint="b" * 32)
    rows = [score_row(row["group_id"], rewards, 0.5) for row, rewards in zip(groups, REWARDS, strict=True)]
    write_table("runs/their-scores", "scores", rows, options={"name": "points"}, inputs={"groups": "b" * 32})
    tiny.grao_json("advantages", "runs/groups-of-ids", "runs/advantages", "--scores", "runs/their-scores")
    shutil.rmtree("runs/groups")
    Path("runs/groups-of-ids").rename("runs/groups")
    run_command_of("custom_objective", "--allow-off-policy", "--learning-rate", "1e-3")
    before, after = (load_file(f"{path}/model.safetensors") for path in ("models/base", "runs/model"))
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_objective_weighs_successes_less() -> None:
    """G = 2: −(0.1 · Â_1 ℓ(o_1) + Â_2 ℓ(o_2)) / 2; ℓ is a mean over 2 tokens and over 1; the reference has no part."""
    common = {"group_size": 2, "group_mean_advantage": 0.0, "group_has_reference": True}
    sequences = [
        sequence([1], [5, 6], advantage=1.5, **common),
        sequence([1], [7], advantage=-1.5, **common),
        sequence([1], [8, 9], advantage=1.0, is_reference=True, **common),
    ]
    logprobs = torch.full((3, 2), -1.0, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    objective = WeightedReinforce(WeightedReinforce.Arguments(positive_weight=0.1))
    loss = objective(objective_inputs(sequences, mask, logprobs)).loss
    [gradient] = torch.autograd.grad(loss, logprobs)
    expected = torch.tensor([[-0.1 * 1.5 / 4, -0.1 * 1.5 / 4], [1.5 / 2, 0.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-12)
