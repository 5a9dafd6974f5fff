"""GRAO's weighted form is the naive three-term objective: by autograd, with real models, in float64."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grao_pipeline.training.data.sequences import micro_batches
from grao_pipeline.training.metrics import StepMetrics
from grao_pipeline.training.micro_batch import run_micro_batch
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.base import FakeObjective, ObjectiveInputs
from grao_pipeline.training.objectives.grao import Grao
from tests.training import oracle
from tests.training.families import twin
from tests.training.oracle import backward
from tests.training.steps import Scored, library_step, scored_group, scored_groups, take_gradient, training_groups

VOCABULARY = 24


@pytest.fixture(scope="module")
def float64_model() -> Any:
    """A GPT-2, since transformers computes all of it in float64 (and RMS norms of others in float32)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    config = GPT2Config(**sizes, initializer_range=0.4, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(config).double().eval()  # without dropout


@pytest.fixture(scope="module")
def policy(float64_model: Any) -> Policy:
    """The same model, its prompts shared."""
    return Policy(twin(float64_model), "split")


def assert_gradients_equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@given(
    scored=scored_groups(VOCABULARY),
    beta=st.sampled_from([0.5, 0.0, 2.0]),
    lambda_=st.sampled_from([0.6, 0.0, 3.0]),
    tokens_per_batch=st.sampled_from([1, 12, 25, 60, 100_000]),
)
def test_gradient_and_components_are_those_of_the_three_terms(
    tmp_path_factory: pytest.TempPathFactory,
    float64_model: Any,
    policy: Policy,
    scored: Scored,
    beta: float,
    lambda_: float,
    tokens_per_batch: int,
) -> None:
    """J = (1/G) Σ_i [Â_i ℓ(o_i) + β Â_y ℓ(y) + λ Â_i (ℓ(o_i) − ℓ(y))], however the step is cut.

    Where tokens have weights, ℓ is the mean of weight · log p.
    """
    groups = training_groups(tmp_path_factory.mktemp("step"), *scored)
    if not groups:
        return
    gradient, report = library_step(policy, groups, Grao(beta, lambda_), tokens_per_batch)
    terms = oracle.step_terms(float64_model, *scored, beta, lambda_)
    backward(-terms.total)
    assert_gradients_equal(gradient, take_gradient(float64_model))
    for name in ("exploration", "imitation", "regularizer"):
        assert report[name] == pytest.approx(getattr(terms, name).item(), rel=1e-10, abs=1e-10)
    assert report["J"] == pytest.approx(terms.total.item(), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("exploration", [0.0, 0.25, 1.0])
def test_exploration_weighs_the_first_term_alone(
    tmp_path: Path, float64_model: Any, policy: Policy, exploration: float
) -> None:
    """J = (1/G) Σ_i [e Â_i ℓ(o_i) + β Â_y ℓ(y) + λ Â_i (ℓ(o_i) − ℓ(y))]."""
    scored = two_groups([0.0, 0.5, 3.0], "samples_and_reference")
    objective = Grao(0.5, 0.6, Grao.Arguments(exploration=exploration))
    gradient, report = library_step(policy, training_groups(tmp_path, *scored), objective, 100_000)
    terms = oracle.step_terms(float64_model, *scored, 0.5, 0.6)
    total = exploration * terms.exploration + terms.imitation + terms.regularizer
    backward(-total)
    assert_gradients_equal(gradient, take_gradient(float64_model))
    assert report["exploration"] == pytest.approx(exploration * terms.exploration.item(), rel=1e-10, abs=1e-10)
    assert report["J"] == pytest.approx(total.item(), rel=1e-10)


@pytest.fixture
def three_samples() -> Scored:
    """Two groups of three samples with a reference; rewards 0, 0, 3 and of the reference 1, `samples` statistics."""
    return two_groups([0.0, 0.0, 3.0], "samples")


def two_groups(rewards: list[float | None], statistics: str) -> Scored:
    """Prompts of 3 tokens, samples of 2, 3 and 2, references of 4."""
    made = [
        scored_group(
            f"prompt {number}",
            [1, 7, 8 + number],
            [[5 + number, 6], [7, 8, 9], [10, 2]],
            [9, 10, 11, 2],
            rewards,
            1.0,
            statistics=statistics,
        )
        for number in range(2)
    ]
    return [group for group, _ in made], [advantages for _, advantages in made]


@pytest.mark.slow
def test_cuts_within_a_group_give_the_gradient_of_the_whole_step(
    tmp_path: Path, policy: Policy, three_samples: Scored
) -> None:
    groups = training_groups(tmp_path, *three_samples)
    # A group is 3 + (2 + 3 + 2 + 4) = 14 tokens. 7 hold a sequence at a time, 10 the three samples and then the
    # reference, 14 a group, 28 both.
    cuts = {size: len(list(micro_batches(groups, size))) for size in (7, 10, 14, 28)}
    assert cuts == {7: 8, 10: 4, 14: 2, 28: 1}
    whole, whole_report = library_step(policy, groups, Grao(0.5, 0.6), 100_000)
    for size in (7, 10, 14):
        gradient, report = library_step(policy, groups, Grao(0.5, 0.6), size)
        assert_gradients_equal(gradient, whole)
        assert report == pytest.approx(whole_report, rel=1e-12)


def test_weights_are_the_hand_worked_ones() -> None:
    # G = 2, Â = (1, −0.5), Â_y = 2, β = 0.5, λ = 0.6; mean Â_i = 0.25.
    # w_1 = 1.6 · 1 / 2 = 0.8; w_2 = 1.6 · (−0.5) / 2 = −0.4; w_y = 0.5 · 2 − 0.6 · 0.25 = 0.85.
    inputs = hand_inputs()
    assert Grao(0.5, 0.6).weights(inputs).tolist() == pytest.approx([0.8, -0.4, 0.85], abs=1e-15)
    # ℓ = (−1, −2, −3): exploration (−1 + 1) / 2 = 0; imitation 0.5 · 2 · (−3) = −3;
    # regularizer 0.6 / 2 · [1 · (−1 + 3) − 0.5 · (−2 + 3)] = 0.45; J = −2.55.
    outputs = Grao(0.5, 0.6)(inputs)
    sums = {name: float(value) for name, value in outputs.sums.items()}
    assert sums == pytest.approx({"exploration": 0.0, "imitation": -3.0, "regularizer": 0.45}, abs=1e-15)
    assert float(outputs.loss) == pytest.approx(2.55)


def hand_inputs() -> ObjectiveInputs:
    """Two samples and a reference of one token each, ℓ = −1, −2, −3."""
    return ObjectiveInputs(
        token_logprobs=torch.tensor([[-1.0], [-2.0], [-3.0]], dtype=torch.float64),
        token_mask=torch.ones(3, 1, dtype=torch.bool),
        advantages=torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64),
        is_reference=torch.tensor([False, False, True]),
        group_size=torch.full((3,), 2.0, dtype=torch.float64),
        group_mean_advantage=torch.full((3,), 0.25, dtype=torch.float64),
        group_has_reference=torch.ones(3, dtype=torch.bool),
        token_weights=torch.ones(3, 1, dtype=torch.float64),
        behavior_logprobs=torch.zeros(3, 1, dtype=torch.float64),
        has_behavior=torch.zeros(3, dtype=torch.bool),
        rewards=torch.full((3,), torch.nan),
        group_mean_reward=torch.full((3,), torch.nan),
        group=torch.zeros(3, dtype=torch.long),
    )


def test_a_mean_is_taken_over_the_tokens_of_each_sequence() -> None:
    inputs = ObjectiveInputs(
        token_logprobs=torch.tensor([[-1.0, -3.0, -5.0], [-4.0, 0.0, 0.0]], dtype=torch.float64),
        token_mask=torch.tensor([[True, True, True], [True, False, False]]),
        advantages=torch.zeros(2),
        is_reference=torch.zeros(2, dtype=torch.bool),
        group_size=torch.ones(2),
        group_mean_advantage=torch.zeros(2),
        group_has_reference=torch.zeros(2, dtype=torch.bool),
        token_weights=torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 1.0]], dtype=torch.float64),
        behavior_logprobs=torch.zeros(2, 3, dtype=torch.float64),
        has_behavior=torch.zeros(2, dtype=torch.bool),
        rewards=torch.full((2,), torch.nan),
        group_mean_reward=torch.full((2,), torch.nan),
        group=torch.zeros(2, dtype=torch.long),
    )
    assert inputs.mean_logprobs().tolist() == [-3.0, -4.0]
    # Weights change the sum, not the number of tokens: (−2 + 0 + 5) / 3 and −2.
    assert inputs.weighted_mean_logprobs().tolist() == [1.0, -2.0]


def test_weights_of_tokens_weigh_their_log_probs() -> None:
    # ℓ = (−1, −2, −3) and weights 2, 0, 1 become (−2, 0, −3): with w = (0.8, −0.4, 0.85), J = −1.6 − 2.55.
    weights = torch.tensor([[2.0], [0.0], [1.0]], dtype=torch.float64)
    outputs = Grao(0.5, 0.6)(replace(hand_inputs(), token_weights=weights))
    assert float(outputs.loss) == pytest.approx(4.15)
    assert float(sum(outputs.sums.values())) == pytest.approx(-4.15)


def test_under_samples_statistics_lambda_only_rescales_exploration(
    tmp_path: Path, policy: Policy, three_samples: Scored
) -> None:
    """ΣÂ_i = 0, so the regularizer's reference part cancels: J = (1 + λ) exploration + imitation."""
    groups = training_groups(tmp_path, *three_samples)
    lambda_ = 0.6
    plain, plain_report = library_step(policy, groups, Grao(0.0, 0.0), 100_000)
    regularized, report = library_step(policy, groups, Grao(0.0, lambda_), 100_000)
    for found, exploration in zip(regularized, plain, strict=True):
        # Tables hold float32 advantages: their sum is 0 to about 1e-7.
        torch.testing.assert_close(found, (1 + lambda_) * exploration, rtol=1e-6, atol=1e-6)
    assert report["regularizer"] == pytest.approx(lambda_ * plain_report["exploration"], rel=1e-6)


def test_with_the_reference_in_the_statistics_the_reference_part_does_not_cancel(
    tmp_path: Path, policy: Policy
) -> None:
    """All samples fail, the reference does not: it is pushed up, the samples down (the paper's motive)."""
    groups, advantages = two_groups([0.0, 0.0, 0.0], "samples_and_reference")
    samples, reference = advantages[0]["advantages"], advantages[0]["reference_advantage"]
    # μ = 1/4, σ = √(3/16): Â_i = −1/√3, Â_y = √3, and ΣÂ_i = −Â_y.
    assert samples == pytest.approx([-(3**-0.5)] * 3, rel=1e-6)
    assert reference == pytest.approx(3**0.5, rel=1e-6)
    made = training_groups(tmp_path, groups, advantages)
    inputs = run_micro_batch(policy, Grao(0.5, 0.6), made[0].sequences).inputs
    # w_i = 1.6 · (−1/√3) / 3; w_y = 0.5 √3 + 0.6 / √3.
    expected = [1.6 * -(3**-0.5) / 3] * 3 + [0.5 * 3**0.5 + 0.6 * 3**-0.5]
    assert Grao(0.5, 0.6).weights(inputs).tolist() == pytest.approx(expected, rel=1e-6)


def test_shares_are_the_magnitudes_of_the_terms() -> None:
    outputs = Grao(0.5, 0.6)(hand_inputs())
    metrics = StepMetrics(1)
    metrics.add([], hand_inputs(), outputs)
    report = metrics.report()
    # |0|, |−3|, |0.45| of 3.45
    shares = [report[f"{name}_share"] for name in ("exploration", "imitation", "regularizer")]
    assert shares == pytest.approx([0.0, 3 / 3.45, 0.45 / 3.45], abs=1e-15)


def test_the_public_fake_is_the_plain_likelihood() -> None:
    # −(−1 − 2 − 3) / 2
    outputs = FakeObjective()(hand_inputs())
    assert float(outputs.loss) == pytest.approx(3.0)
    assert float(outputs.sums["likelihood"]) == pytest.approx(-3.0)
