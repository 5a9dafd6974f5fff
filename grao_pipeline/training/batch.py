"""Sequences → tensors → token log-probs under a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grao_pipeline.training.data import TrainingSequence
from grao_pipeline.training.objectives.base import ObjectiveInputs


@dataclass(frozen=True)
class Batch:
    """S rows: prompts padded on the left to P, continuations on the right to L, so that all begin in column P.

    Shapes: `input_ids`, `attention_mask`, `position_ids` [S, P + L]; `token_ids`, `token_mask` [S, L].
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    token_ids: Tensor
    token_mask: Tensor

    @property
    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        return int(self.attention_mask.sum())


def make_batch(sequences: Sequence[TrainingSequence], device: torch.device) -> Batch:
    """Pad sequences into a batch."""
    prompt_length = max(len(sequence.prompt_token_ids) for sequence in sequences)
    length = max(len(sequence.token_ids) for sequence in sequences)
    input_ids = torch.zeros(len(sequences), prompt_length + length, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        ids = torch.tensor([*sequence.prompt_token_ids, *sequence.token_ids])
        start = prompt_length - len(sequence.prompt_token_ids)
        input_ids[row, start : start + len(ids)] = ids
        attention_mask[row, start : start + len(ids)] = 1
    position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    return Batch(
        input_ids=input_ids.to(device),
        attention_mask=attention_mask.to(device),
        position_ids=position_ids.to(device),
        token_ids=input_ids[:, prompt_length:].to(device),
        token_mask=attention_mask[:, prompt_length:].bool().to(device),
    )


def token_logprobs(model: Any, batch: Batch) -> Tensor:
    """Log-prob of every token of the continuations, in nats, 0 at padding. [S, L]

    Only the positions that predict a continuation's token reach the LM head.
    """
    length = batch.token_ids.shape[1]
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        logits_to_keep=length + 1,
        use_cache=False,
    ).logits[:, -length - 1 : -1]  # a model that ignores logits_to_keep returns them all
    logits = logits if logits.dtype == torch.float64 else logits.float()
    chosen = logits.gather(-1, batch.token_ids[..., None])[..., 0]
    return torch.where(batch.token_mask, chosen - logits.logsumexp(dim=-1), 0.0)


def objective_inputs(sequences: Sequence[TrainingSequence], batch: Batch, logprobs: Tensor) -> ObjectiveInputs:
    """What an objective sees of a batch; its statistics in the log-probs' precision."""

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=logprobs.dtype, device=logprobs.device)

    def flags(values: list[bool]) -> Tensor:
        return torch.tensor(values, device=logprobs.device)

    return ObjectiveInputs(
        token_logprobs=logprobs,
        token_mask=batch.token_mask,
        advantages=column([sequence.advantage for sequence in sequences]),
        is_reference=flags([sequence.is_reference for sequence in sequences]),
        group_size=column([float(sequence.group_size) for sequence in sequences]),
        group_mean_advantage=column([sequence.group_mean_advantage for sequence in sequences]),
        group_has_reference=flags([sequence.group_has_reference for sequence in sequences]),
    )
