"""One micro-batch: sequences → a scalar with the loss's gradient, and what the metrics need."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grao_pipeline.training.data import TrainingSequence
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs
from grao_pipeline.training.packing import PackedBatch, pack
from grao_pipeline.training.policy import Policy


@dataclass(frozen=True)
class MicroBatch:
    """What came of a micro-batch.

    Attributes:
        gradient: a scalar whose gradient is the loss's; its value is not the loss.
        inputs, outputs: what the objective saw and said, without a graph.
    """

    batch: PackedBatch
    gradient: Tensor
    inputs: ObjectiveInputs
    outputs: ObjectiveOutputs


def run_micro_batch(
    policy: Policy, objective: Objective, sequences: Sequence[TrainingSequence], device: torch.device | str = "cpu"
) -> MicroBatch:
    """Run the policy over some of a step's sequences, once. Any cut of a step gives the same sum of gradients."""
    batch = pack(sequences, device)

    def inputs(logprobs: Tensor) -> ObjectiveInputs:
        return objective_inputs(sequences, batch.token_mask, batch.padded(logprobs))

    is_linear = bool(getattr(objective, "is_linear", False))
    gradient, logprobs = policy(batch, lambda leaf: objective(inputs(leaf)).loss, is_linear)
    with torch.no_grad():
        found = inputs(logprobs)
        return MicroBatch(batch, gradient, found, objective(found))


def objective_inputs(sequences: Sequence[TrainingSequence], token_mask: Tensor, logprobs: Tensor) -> ObjectiveInputs:
    """What an objective sees of a batch; its statistics in the log-probs' precision.

    Args:
        token_mask, logprobs: [S, L].
    """

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=logprobs.dtype, device=logprobs.device)

    def flags(values: list[bool]) -> Tensor:
        return torch.tensor(values, device=logprobs.device)

    def rows(values: list[list[float] | None]) -> Tensor:
        found = torch.ones_like(logprobs, requires_grad=False)
        for row, value in enumerate(values):
            if value is not None:
                found[row, : len(value)] = torch.tensor(value, dtype=logprobs.dtype)
        return found

    return ObjectiveInputs(
        token_logprobs=logprobs,
        token_mask=token_mask,
        advantages=column([sequence.advantage for sequence in sequences]),
        is_reference=flags([sequence.is_reference for sequence in sequences]),
        group_size=column([float(sequence.group_size) for sequence in sequences]),
        group_mean_advantage=column([sequence.group_mean_advantage for sequence in sequences]),
        group_has_reference=flags([sequence.group_has_reference for sequence in sequences]),
        token_weights=rows([sequence.token_weights for sequence in sequences]),
    )
