"""Groups with advantages, drawn or by hand, and one training step on them by the library's parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.data.sequences import TrainingGroup, TrainingSequence, micro_batches
from grao_pipeline.training.metrics import StepMetrics
from grao_pipeline.training.micro_batch import run_micro_batch
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.base import Objective
from tests import tiny
from tests.training import oracle
from tests.training.oracle import Row, backward

Scored = tuple[list[Row], list[Row]]
"""Rows of a groups table and of its advantages."""


def training_groups(root: Path, groups: Sequence[Row], advantages: Sequence[Row]) -> list[TrainingGroup]:
    """The rows, written as tables and read by the trainer."""
    groups_url = tiny.write_table(root / "groups", "groups", [dict(row) for row in groups], rows_per_part=2)
    advantages_url = tiny.write_table(
        root / "advantages", "advantages", [dict(row) for row in advantages], rows_per_part=2
    )
    data = TrainingSet(open_table(groups_url), open_table(advantages_url))
    return [data[index] for index in range(len(data))]


def library_step(
    policy: Policy, groups: Sequence[TrainingGroup], objective: Objective, tokens_per_batch: int
) -> tuple[list[Tensor], dict[str, Any]]:
    """Gradient of −J by the library's parts, and what they report. The model's gradients are left empty."""
    metrics = StepMetrics(len(groups))
    for sequences in micro_batches(groups, tokens_per_batch):
        micro_batch = run_micro_batch(policy, objective, sequences)
        backward(micro_batch.surrogate / len(groups))
        metrics.add(sequences, micro_batch.inputs, micro_batch.outputs)
    return take_gradient(policy.model), metrics.report()


def take_gradient(model: Any) -> list[Tensor]:
    gradient = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    return gradient


def relative_distance(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference between two gradients, in units of the largest element of the second."""
    largest = max(float(b.abs().max()) for b in expected)
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)) / largest


def sequence(prompt: Sequence[int], ids: Sequence[int], **changes: Any) -> TrainingSequence:
    """A sample of advantage 1, alone in its group."""
    values: dict[str, Any] = {
        "advantage": 1.0,
        "is_reference": False,
        "group_size": 1,
        "group_mean_advantage": 1.0,
        "group_has_reference": False,
        "reward": None,
        "behavior_logprobs": None,
    }
    return TrainingSequence(list(prompt), list(ids), **(values | changes))


def advantage_row(
    group: Row,
    scored: Sequence[float | None],
    samples: Sequence[float | None],
    reference: float | None,
    token_weights: Sequence[Sequence[float] | None] | None = None,
) -> Row:
    return {
        "group_id": group["group_id"],
        "rewards": list(scored),
        "advantages": list(samples),
        "reference_advantage": reference,
        "reward_mean": None,
        "reward_std": None,
        "token_weights": token_weights,
    }


def scored_group(
    name: str,
    prompt: Sequence[int],
    completions: Sequence[Sequence[int]],
    reference: Sequence[int] | None,
    rewards: Sequence[float | None],
    reference_reward: float | None,
    token_weights: Sequence[Sequence[float] | None] | None = None,
    statistics: str = "samples_and_reference",
) -> tuple[Row, Row]:
    """A group of these token ids, and its advantages by the oracle."""
    group = tiny.group_row(name, ["text"] * len(completions), token_ids=completions)
    group |= {
        "prompt_token_ids": list(prompt),
        "reference_token_ids": None if reference is None else list(reference),
    }
    samples, of_reference = oracle.group_advantages(rewards, reference_reward, statistics)
    return group, advantage_row(group, rewards, samples, of_reference, token_weights)


REWARDS = st.sampled_from([0.0, 1.0, 0.1, -2.5, 0.7])
WEIGHTS = st.sampled_from([1.0, 0.0, 0.5, 2.0, -1.25])  # without a rounding in the tables' float32


@st.composite
def scored_groups(draw: st.DrawFn, vocabulary: int, most_groups: int = 4, most_samples: int = 4) -> Scored:
    """Some groups, some without reference, some samples without reward, some with weights of tokens."""
    statistics = draw(st.sampled_from(["samples", "samples_and_reference"]))
    tokens = st.lists(st.integers(0, vocabulary - 1), min_size=1, max_size=6)
    rows: list[tuple[Row, Row]] = []
    for number in range(draw(st.integers(1, most_groups))):
        completions = draw(st.lists(tokens, min_size=1, max_size=most_samples))
        rewards = [draw(st.none() | REWARDS) if draw(st.booleans()) else draw(REWARDS) for _ in completions]
        reference = draw(st.none() | tokens)
        reference_reward = draw(st.none() | REWARDS) if reference is not None else None
        weights = None
        if draw(st.booleans()):
            of_length = [st.lists(WEIGHTS, min_size=len(ids), max_size=len(ids)) for ids in completions]
            weights = [draw(st.none() | values) for values in of_length]
        prompt = draw(tokens)
        rows.append(
            scored_group(
                f"prompt {number}", prompt, completions, reference, rewards, reference_reward, weights, statistics
            )
        )
    return [group for group, _ in rows], [advantages for _, advantages in rows]


def ragged_groups(vocabulary: int, seed: int = 0) -> Scored:
    """Groups of 4, 1, 16 and 2 samples of 1 to 20 tokens behind prompts of 9, 4, 17 and 1.

    The first and the last weigh tokens; the last has no reference.
    """
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> list[int]:
        return torch.randint(3, vocabulary, (length,), generator=generator).tolist()

    def weights(length: int) -> list[float]:
        return [(-1.25, 0.0, 0.5, 2.0)[i % 4] for i in range(length)]

    rows = [
        scored_group(
            "four",
            ids(9),
            [ids(n) for n in (5, 12, 3, 12)],
            ids(7),
            [0.0, 1.0, None, 0.3],
            0.5,
            [weights(5), None, weights(3), weights(12)],
        ),
        scored_group("one", ids(4), [ids(6)], ids(5), [1.0], 0.0),
        scored_group(
            "sixteen",
            ids(17),
            [ids(n) for n in (1, 20, 2, 3, 4, 9, 9, 9, 1, 6, 5, 16, 13, 2, 7, 8)],
            ids(20),
            [0.1 * n for n in range(16)],
            0.4,
        ),
        scored_group("two", ids(1), [ids(2), ids(9)], None, [1.0, 0.0], None, [weights(2), weights(9)]),
    ]
    return [group for group, _ in rows], [advantages for _, advantages in rows]
