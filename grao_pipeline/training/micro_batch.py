"""One micro-batch: sequences → a surrogate loss with the gradient of the loss, and the inputs of the metrics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grao_pipeline.training.data.packing import PackedBatch, pack
from grao_pipeline.training.data.sequences import TrainingSequence
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs
from grao_pipeline.training.objectives.importance_sampling import Correction
from grao_pipeline.training.objectives.requirements import check_sequences


@dataclass(frozen=True)
class MicroBatch:
    """Result of a micro-batch."""

    batch: PackedBatch
    surrogate: Tensor
    """A scalar whose gradient is that of the loss; its value is not the loss. []"""
    inputs: ObjectiveInputs
    """What the objective was given, without a graph; the factors of a correction are in the token weights."""
    outputs: ObjectiveOutputs
    """What the objective returned, without a graph."""


def run_micro_batch(
    policy: Policy,
    objective: Objective,
    sequences: Sequence[TrainingSequence],
    device: torch.device | str = "cpu",
    correction: Correction | None = None,
    progress: float = 0.0,
) -> MicroBatch:
    """Run the policy over some of a step's sequences, once. Any cut of a step gives the same sum of gradients.

    Args:
        progress: share of the training's steps that are done.

    Raises:
        InputError: a sequence lacks what the objective needs; names its group.
    """
    check_sequences(objective, sequences)
    batch = pack(sequences, device, objective.top_tokens_of)
    is_corrected = correction is not None and not correction.is_off

    def inputs(logprobs: Tensor) -> ObjectiveInputs:
        uncorrected = _inputs(sequences, batch, logprobs, progress)
        if correction is None or not is_corrected:
            return uncorrected
        factors = correction.factors(objective, uncorrected)
        return replace(uncorrected, token_weights=uncorrected.token_weights * factors)

    # The factors of a correction depend on the log-probs, so the log-probs must be known before the gradient.
    is_linear = objective.traits.is_linear and not is_corrected
    surrogate, logprobs = policy(batch, lambda leaf: objective(inputs(leaf)).loss, is_linear)
    with torch.no_grad():
        final_inputs = inputs(logprobs)
        return MicroBatch(batch, surrogate, final_inputs, objective(final_inputs))


def _inputs(
    sequences: Sequence[TrainingSequence], batch: PackedBatch, logprobs: Tensor, progress: float
) -> ObjectiveInputs:
    """Args: logprobs: [N], or [N, 1 + K] with those of the batch's candidates."""
    if batch.candidates is None or batch.candidate_logprobs is None:
        return objective_inputs(sequences, batch.token_mask, batch.padded(logprobs), progress)
    return replace(
        objective_inputs(sequences, batch.token_mask, batch.padded(logprobs[:, 0]), progress),
        top_logprobs=batch.padded(logprobs[:, 1:]),
        teacher_top_logprobs=batch.padded(batch.candidate_logprobs.to(logprobs.dtype)),
    )


def objective_inputs(
    sequences: Sequence[TrainingSequence], token_mask: Tensor, logprobs: Tensor, progress: float = 0.0
) -> ObjectiveInputs:
    """The inputs of an objective for a batch, in the precision of the log-probs.

    Args:
        token_mask, logprobs: [S, L].
        progress: share of the training's steps that are done.
    """

    def column(values: Sequence[float | None]) -> Tensor:
        known = [math.nan if value is None else value for value in values]
        return torch.tensor(known, dtype=logprobs.dtype, device=logprobs.device)

    def flags(values: Sequence[bool]) -> Tensor:
        return torch.tensor(values, device=logprobs.device)

    def rows(values: Sequence[Sequence[float] | None], otherwise: float) -> Tensor:
        matrix = torch.full(logprobs.shape, otherwise, dtype=logprobs.dtype)
        for row, (sequence, value) in enumerate(zip(sequences, values, strict=True)):
            if value is not None:
                of_sampled = torch.tensor(sequence.sampled(value), dtype=logprobs.dtype)
                matrix[row, : len(of_sampled)] = of_sampled
        return matrix.to(logprobs.device)  # one transfer

    numbers: dict[str, int] = {}
    others = sorted({name for sequence in sequences for name in sequence.logprobs})
    sampling = [_sampling_logprobs(sequence) for sequence in sequences]
    return ObjectiveInputs(
        token_logprobs=logprobs,
        token_mask=token_mask,
        advantages=column([sequence.advantage for sequence in sequences]),
        is_reference=flags([sequence.is_reference for sequence in sequences]),
        group_size=column([float(sequence.group_size) for sequence in sequences]),
        group_mean_advantage=column([sequence.group_mean_advantage for sequence in sequences]),
        group_has_reference=flags([sequence.group_has_reference for sequence in sequences]),
        token_weights=rows([sequence.token_weights for sequence in sequences], 1.0),
        behavior_logprobs=rows([sequence.behavior_logprobs for sequence in sequences], 0.0),
        has_behavior=flags([sequence.behavior_logprobs is not None for sequence in sequences]),
        rewards=column([sequence.reward for sequence in sequences]),
        group_mean_reward=column([sequence.group_mean_reward for sequence in sequences]),
        group=torch.tensor(
            [numbers.setdefault(sequence.group_id, len(numbers)) for sequence in sequences], device=logprobs.device
        ),
        sampling_logprobs=rows(sampling, 0.0),
        has_sampling=flags([values is not None for values in sampling]),
        group_tokens=column([float(sequence.group_tokens) for sequence in sequences]),
        logprobs={name: rows([sequence.logprobs.get(name) for sequence in sequences], 0.0) for name in others},
        progress=progress,
        token_ids=rows([sequence.token_ids for sequence in sequences], 0.0).long(),
    )


def _sampling_logprobs(sequence: TrainingSequence) -> list[float] | None:
    """Log-probs under the distribution that was sampled from, which is the policy unless others are stored."""
    if sequence.sampling_is_unknown:
        return None
    return sequence.sampling_logprobs or sequence.behavior_logprobs
