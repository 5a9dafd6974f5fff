"""`chord`: loss and gradient, against a loop over tokens in float64."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from grao_pipeline.training.objectives.base import ObjectiveInputs
from grao_pipeline.training.objectives.chord import Chord
from grao_pipeline.training.objectives.grpo import Grpo
from grao_pipeline.training.objectives.sft import Sft

LENGTHS = (3, 2, 3)
"""Tokens of two samples and the reference."""


def inputs(token_logprobs: Tensor) -> ObjectiveInputs:
    mask = torch.tensor([[place < length for place in range(3)] for length in LENGTHS])
    behavior = torch.tensor([[-1.1, -0.4, -2.0], [-0.6, -1.5, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    is_reference = torch.tensor([False, False, True])
    return ObjectiveInputs(
        token_logprobs=token_logprobs,
        token_mask=mask,
        advantages=torch.tensor([1.5, -0.5, 0.7], dtype=torch.float64),
        is_reference=is_reference,
        group_size=torch.full((3,), 2.0, dtype=torch.float64),
        group_mean_advantage=torch.full((3,), 0.5, dtype=torch.float64),
        group_has_reference=torch.ones(3, dtype=torch.bool),
        token_weights=torch.ones(3, 3, dtype=torch.float64),
        behavior_logprobs=behavior,
        has_behavior=~is_reference,
        rewards=torch.full((3,), torch.nan),
        group_mean_reward=torch.full((3,), torch.nan),
        group=torch.zeros(3, dtype=torch.long),
    )


LOGPROBS = [[-1.0, -0.3, -2.5], [-0.7, -1.0, 0.0], [-0.2, -1.2, -3.0]]


@pytest.mark.parametrize("phi", [True, False])
@pytest.mark.parametrize("mu", [0.0, 0.1, 0.9, 1.0])
def test_loss_and_gradient_are_those_of_the_formula(mu: float, phi: bool) -> None:
    """The slope of (1 − mu) (1/G) (1/|o|) Σ −min(r A, clip(r) A) − mu (1/|y|) Σ φ log p by log p, φ held constant."""
    leaf = torch.tensor(LOGPROBS, dtype=torch.float64, requires_grad=True)
    given = inputs(leaf)
    loss = Chord(Chord.Arguments(mu=mu, phi=phi))(given).loss
    (gradient,) = torch.autograd.grad(loss, leaf)

    expected_loss, expected = 0.0, torch.zeros(3, 3, dtype=torch.float64)
    behavior, advantages = given.behavior_logprobs.tolist(), given.advantages.tolist()
    for row in (0, 1):
        for token in range(LENGTHS[row]):
            share = (1 - mu) / 2 / LENGTHS[row]
            ratio, advantage = math.exp(LOGPROBS[row][token] - behavior[row][token]), advantages[row]
            bounded = min(max(ratio, 0.8), 1.2)
            expected_loss -= share * min(ratio * advantage, bounded * advantage)
            if ratio * advantage <= bounded * advantage:
                expected[row, token] = -share * ratio * advantage
    for token in range(LENGTHS[2]):
        probability = math.exp(LOGPROBS[2][token])
        weight = probability * (1 - probability) if phi else 1.0
        expected_loss -= mu * weight * LOGPROBS[2][token] / LENGTHS[2]
        expected[2, token] = -mu * weight / LENGTHS[2]
    assert float(loss.detach()) == pytest.approx(expected_loss, rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_the_ends_of_mu_are_grpo_and_sft() -> None:
    given = inputs(torch.tensor(LOGPROBS, dtype=torch.float64))
    assert Chord(Chord.Arguments(mu=0.0))(given).loss == Grpo()(given).loss
    assert Chord(Chord.Arguments(mu=1.0, phi=False))(given).loss == Sft()(given).loss


def test_a_group_without_reference_has_grpos_loss_alone() -> None:
    given = inputs(torch.tensor(LOGPROBS, dtype=torch.float64))
    columns: dict[str, Any] = {name: value[:2] for name, value in vars(given).items() if isinstance(value, Tensor)}
    loss = Chord(Chord.Arguments(mu=0.25))(replace(given, **columns)).loss
    assert float(loss) == pytest.approx(0.75 * float(Grpo()(given).loss), rel=1e-12)
