"""examples/one_file.py: it learns, and its advantages and its gradient are those of the library."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from examples import one_file
from grao_pipeline.advantages.compute import compute_advantages
from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.make import make_objective
from grao_pipeline.training.options import TrainOptions
from tests import tiny
from tests.training.families import VOCABULARY, compute_norms_in_float64, make_model, twin
from tests.training.steps import library_step, take_gradient

SCRIPT = Path(one_file.__file__)
REWARDS = [([0.0, 1.0, 0.25, 1.0], 0.5), ([1.0, 0.0], 0.1), ([0.3, 0.3, 0.3], 0.3), ([0.0, 0.0, 0.0], 1.0)]
"""Of the samples and of the reference; those of the third group are all equal, but 0.3 has no exact mean."""


class Logits(nn.Module):
    """A model of transformers as the one file wants it: token ids in, logits out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(ids).logits
        return logits


def ragged_groups() -> list[one_file.Group]:
    """Groups of random tokens, with answers of 1 to 9 tokens after prompts of 2 to 11."""
    rng = random.Random(0)

    def tokens(least: int, most: int) -> list[int]:
        return rng.choices(range(3, VOCABULARY), k=rng.randint(least, most))

    groups = []
    for rewards, reference_reward in REWARDS:
        samples = [tokens(1, 9) for _ in rewards]
        logprobs = [[-1.0] * len(sample) for sample in samples]
        group = one_file.Group(tokens(2, 11), tokens(1, 9), samples, logprobs, rewards, reference_reward)
        one_file.compute_advantages(group)
        groups.append(group)
    return groups


def write_tables(root: Path, groups: list[one_file.Group]) -> tuple[str, str]:
    """The groups and their scores as tables of the library; their advantages are computed by it. Both paths."""
    rows = [
        tiny.group_row(f"prompt {number}", ["text"] * len(group.samples), token_ids=group.samples)
        | {"prompt_token_ids": group.prompt, "reference_token_ids": group.reference}
        for number, group in enumerate(groups)
    ]
    scores = [
        {
            "group_id": row["group_id"],
            "rewards": group.rewards,
            "reference_reward": group.reference_reward,
            "statuses": ["ok"] * len(group.rewards),
            "details": None,
        }
        for row, group in zip(rows, groups, strict=True)
    ]
    groups_url = tiny.write_table(root / "groups", "groups", rows)
    inputs = {"groups": open_table(groups_url).fingerprint}
    scores_url = tiny.write_table(root / "scores", "scores", scores, inputs=inputs, options={"name": "reward"})
    advantages_url = str(root / "advantages")
    compute_advantages(groups_url, advantages_url, AdvantagesOptions(scores=[WeightedScores(url=scores_url)]))
    return groups_url, advantages_url


def test_its_advantages_are_those_of_the_library(tmp_path: Path) -> None:
    groups = ragged_groups()
    _, advantages_url = write_tables(tmp_path, groups)
    for group, row in zip(groups, open_table(advantages_url).arrow().to_pylist(), strict=True):
        if row["advantages"][0] is None:  # masked by the library, since its rewards are all equal
            assert [*group.advantages, group.reference_advantage] == [0.0] * 4
        else:
            assert group.advantages == pytest.approx(row["advantages"], rel=1e-6)
            assert group.reference_advantage == pytest.approx(row["reference_advantage"], rel=1e-6)


def test_its_gradient_is_that_of_the_library(tmp_path: Path) -> None:
    groups = ragged_groups()
    groups_url, advantages_url = write_tables(tmp_path, groups)
    data = TrainingSet(open_table(groups_url), open_table(advantages_url))
    options = TrainOptions(model="unused", beta=0.5, lambda_=0.6)
    objective, _ = make_objective(options, data)
    model = compute_norms_in_float64(make_model("llama", torch.float64))
    library_groups = [data[index] for index in range(len(data))]
    expected, _ = library_step(Policy(twin(model), "split"), library_groups, objective, tokens_per_batch=40)

    trained = [group for group in groups if any(group.advantages)]
    for group, row in zip(trained, library_groups, strict=True):  # tables round advantages to float32
        *group.advantages, group.reference_advantage = [sequence.advantage for sequence in row.sequences]
    torch.autograd.backward(one_file.grao_loss(Logits(model), trained, options.beta, options.lambda_))
    assert max(float(gradient.abs().max()) for gradient in expected) > 1e-2
    for gradient, wanted in zip(take_gradient(model), expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-12)


def test_it_fits_on_a_few_screens() -> None:
    assert len(SCRIPT.read_text().splitlines()) <= 250


@pytest.mark.slow
def test_it_learns_beyond_its_references_and_needs_nothing_but_torch() -> None:
    code = f"""
import runpy, sys
runpy.run_path({str(SCRIPT)!r})["run"](num_rounds=18)
print([name for name in ("grao_pipeline", "transformers") if name in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *rounds, loaded = process.stdout.splitlines()
    rewards = [float(line.split()[4]) for line in rounds]  # round N  mean reward R …
    assert loaded == "[]"
    assert rewards[0] < 0.2
    assert rewards[-1] > 0.9  # the references reach 5/6
