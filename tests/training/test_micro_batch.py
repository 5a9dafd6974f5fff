"""A micro-batch: any objective gets autograd's gradients, and every cut of a step the same sum of them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from grao_pipeline.training.data.sequences import TrainingGroup, TrainingSequence, micro_batches
from grao_pipeline.training.micro_batch import objective_inputs, run_micro_batch
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.base import (
    FakeObjective,
    Objective,
    ObjectiveInputs,
    ObjectiveOutputs,
    Traits,
)
from grao_pipeline.training.objectives.grao import Grao
from tests.training import families, oracle
from tests.training.families import VOCABULARY, twin
from tests.training.oracle import backward
from tests.training.steps import ragged_groups, sequence, take_gradient, training_groups

Plain = Callable[[Sequence[TrainingSequence], list[Tensor]], Tensor]
"""The sequences and each one's log-probs → the loss."""


class Contrast(Objective):
    """−log σ(sum of the samples' log-probs less the references'), as preference losses are."""

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        sums = (inputs.token_logprobs * inputs.token_mask).sum(dim=1) / 20
        difference = sums[~inputs.is_reference].sum() - sums[inputs.is_reference].sum()
        return ObjectiveOutputs(-torch.nn.functional.logsigmoid(difference), {})


def plain_contrast(sequences: Sequence[TrainingSequence], logprobs: list[Tensor]) -> Tensor:
    signed = [-x.sum() / 20 if s.is_reference else x.sum() / 20 for s, x in zip(sequences, logprobs, strict=True)]
    return -torch.log(1 / (1 + torch.exp(-sum(signed, torch.zeros(())))))


class SquaredError(Objective):
    """Σ_s Â_s mean (log p + 1)²."""

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        squares = ((inputs.token_logprobs + 1) ** 2 * inputs.token_mask).sum(dim=1) / inputs.token_mask.sum(dim=1)
        loss = (inputs.advantages * squares).sum()
        return ObjectiveOutputs(loss, {"squares": squares.sum().detach()})


def plain_squared_error(sequences: Sequence[TrainingSequence], logprobs: list[Tensor]) -> Tensor:
    return torch.stack([s.advantage * ((x + 1) ** 2).mean() for s, x in zip(sequences, logprobs, strict=True)]).sum()


class ClippedRatio(Objective):
    """PPO's: min(r Â, clip(r) Â) per token, r against log-probs of −4; flat wherever it is clipped."""

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        ratio = torch.exp((inputs.token_logprobs + 4).clamp(max=10))
        advantages = inputs.advantages[:, None] * inputs.token_weights
        terms = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        return ObjectiveOutputs(-(terms * inputs.token_mask).sum(), {})


def plain_clipped_ratio(sequences: Sequence[TrainingSequence], logprobs: list[Tensor]) -> Tensor:
    total = torch.zeros(())
    for each, values in zip(sequences, logprobs, strict=True):
        for place, logprob in enumerate(values):
            weight = 1.0 if each.token_weights is None else each.token_weights[place]
            ratio = torch.exp(torch.clamp(logprob + 4, max=10))
            advantage = each.advantage * weight
            total = total - torch.minimum(ratio * advantage, torch.clamp(ratio, 0.8, 1.2) * advantage)
    return total


class Likelihood(FakeObjective):
    """The linear fake, which does not declare it."""

    traits = Traits()


def plain_likelihood(sequences: Sequence[TrainingSequence], logprobs: list[Tensor]) -> Tensor:
    means = [x.mean() / max(1, s.group_size) for s, x in zip(sequences, logprobs, strict=True)]
    return -torch.stack(means).sum()


OBJECTIVES: dict[str, tuple[Objective, Plain]] = {
    "contrast": (Contrast(), plain_contrast),
    "squared error": (SquaredError(), plain_squared_error),
    "clipped ratio": (ClippedRatio(), plain_clipped_ratio),
    "likelihood": (Likelihood(), plain_likelihood),
    "likelihood, known to be linear": (FakeObjective(), plain_likelihood),
}


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> list[TrainingGroup]:
    return training_groups(tmp_path_factory.mktemp("ragged"), *ragged_groups(VOCABULARY))


@pytest.fixture(scope="module")
def model() -> Any:
    return families.compute_norms_in_float64(families.make_model("llama", torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["split", "rows"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_any_objective_gets_the_gradients_of_autograd(
    groups: list[TrainingGroup], model: Any, name: str, attention: str
) -> None:
    objective, plain = OBJECTIVES[name]
    sequences = [each for group in groups for each in group.sequences]
    policy = Policy(twin(model), attention)
    micro_batch = run_micro_batch(policy, objective, sequences)
    backward(micro_batch.surrogate)
    logprobs = [oracle.sequence_logprobs(model, each.prompt_token_ids, each.token_ids) for each in sequences]
    loss = plain(sequences, logprobs)
    backward(loss)
    assert float(micro_batch.outputs.loss) == pytest.approx(loss.item(), rel=1e-10)
    for found, expected in zip(take_gradient(policy.model), take_gradient(model), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_inputs_and_outputs_hold_the_log_probs_without_a_graph(groups: list[TrainingGroup], model: Any) -> None:
    sequences = groups[0].sequences
    micro_batch = run_micro_batch(Policy(twin(model), "split"), SquaredError(), sequences)
    assert not micro_batch.inputs.token_logprobs.requires_grad
    assert not micro_batch.outputs.loss.requires_grad
    for row, each in enumerate(sequences):
        expected = oracle.sequence_logprobs(model, each.prompt_token_ids, each.token_ids).detach()
        length = len(each.token_ids)
        torch.testing.assert_close(micro_batch.inputs.token_logprobs[row, :length], expected, rtol=1e-10, atol=1e-10)
        assert torch.all(micro_batch.inputs.token_logprobs[row, length:] == 0)
        assert micro_batch.inputs.token_mask[row].sum() == length


def test_an_objective_sees_each_sequence_in_its_row() -> None:
    """Weights of tokens are 1 where they are not given, and at padding."""
    sequences = [
        sequence([1], [5, 6, 7], advantage=0.5, group_size=2, group_mean_advantage=0.25, token_weights=[0.5, 0.0, 2.0]),
        sequence([1], [8], advantage=-0.5, is_reference=True, group_has_reference=True),
        sequence([2], [9, 9], advantage=2.0, token_weights=[-1.25, 1.0]),
    ]
    mask = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
    inputs = objective_inputs(sequences, mask, torch.zeros(3, 3, dtype=torch.float64))
    assert inputs.token_weights.tolist() == [[0.5, 0.0, 2.0], [1.0, 1.0, 1.0], [-1.25, 1.0, 1.0]]
    assert inputs.advantages.tolist() == [0.5, -0.5, 2.0]
    assert inputs.is_reference.tolist() == [False, True, False]
    assert inputs.group_size.tolist() == [2.0, 1.0, 1.0]
    assert inputs.group_mean_advantage.tolist() == [0.25, 1.0, 1.0]
    assert inputs.group_has_reference.tolist() == [False, True, False]
    assert {inputs.advantages.dtype, inputs.token_weights.dtype} == {torch.float64}


@pytest.mark.slow
def test_every_cut_of_a_step_sums_to_the_same_gradient(groups: list[TrainingGroup], model: Any) -> None:
    made = []
    for tokens_per_batch in (1, 30, 75, 10**6):
        policy = Policy(twin(model), "split")
        batches = list(micro_batches(groups, tokens_per_batch))
        for sequences in batches:
            backward(run_micro_batch(policy, Grao(0.5, 0.6), sequences).surrogate)
        made.append((len(batches), take_gradient(policy.model)))
    assert [count for count, _ in made] == sorted({count for count, _ in made}, reverse=True)
    assert made[-1][0] == 1
    for _, gradient in made[:-1]:
        for found, expected in zip(gradient, made[-1][1], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_tokens_of_weight_zero_are_not_trained_on(model: Any) -> None:
    policy = Policy(twin(model), "split")
    micro_batch = run_micro_batch(policy, Grao(0.5, 0.6), [sequence([1, 2], [5, 6], token_weights=[0.0, 0.0])])
    backward(micro_batch.surrogate)
    assert all(float(each.abs().max()) == 0.0 for each in take_gradient(policy.model))
