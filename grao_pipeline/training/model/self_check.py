"""Before the first step: does the fast path say what the model itself says?

An architecture that takes its attention elsewhere, or does something to its logits that is not known here, would
otherwise be trained on wrong log-probs without a word.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.progress import Progress
from grao_pipeline.training.data.groups import TrainingSequence
from grao_pipeline.training.data.packing import PackedBatch, pack
from grao_pipeline.training.model.attention.base import UnsupportedAttention
from grao_pipeline.training.model.policy import ROWS, Policy, unshared

TOLERANCE_NATS = {torch.float64: 1e-6, torch.float32: 2e-3}
HALF_PRECISION_TOLERANCE_NATS = 0.2
MAX_SEQUENCES = 4


def check_policy(
    policy: Policy,
    sequences: Sequence[TrainingSequence],
    progress: Progress,
    forced: bool,
    device: torch.device | None = None,
    in_half: bool = False,
) -> None:
    """Compare log-probs of a few sequences with those of transformers' plain forward, row by row.

    Where the shared prompt does not give the same, the policy is told to use plain rows instead, with a notice.

    Args:
        sequences: of the first batch. Two made-up ones are packed behind them, so that a model which ignores the
            layout is found out even by a batch of one.
        forced: the user chose the attention: then it is an error instead.
        device: where the policy computes, if its weights lie elsewhere.
        in_half: it computes in half precision whatever its weights are in.

    Raises:
        UsageError: the chosen attention does not work for this model.
        InputError: not even plain rows do.
    """
    was_training = policy.training
    policy.eval()
    try:
        device = device or next(policy.parameters()).device
        batch = pack([*sequences[:MAX_SEQUENCES], *_made_up(sequences[0])], device)
        expected = policy.with_own_attention(lambda: plain_logprobs(policy, batch))
        name = type(policy.model).__name__
        if not bool(expected.isfinite().all()):
            raise InputError(f"{name}: its own log-probs are not finite. Its weights are damaged, or hold NaN.")
        if policy.attention != ROWS:
            problem = _unsupported_in_training(policy, batch, was_training) or _problem(
                policy, batch, expected, in_half
            )
            if problem is None:
                return
            if forced:
                raise UsageError(f"--attention {policy.attention} does not work for {name}: {problem}.")
            progress.note(
                f"{name} cannot share prompts ({problem}); training on plain rows, with every prompt repeated."
            )
            policy.use_rows()
        problem = _problem(policy, batch, expected, in_half)
        if problem is not None:
            raise InputError(f"{name} cannot be trained here: {problem}.")
    finally:
        policy.train(was_training)


@torch.no_grad()
def plain_logprobs(policy: Policy, batch: PackedBatch) -> Tensor:
    """Log-probs of the continuation tokens by the model's own forward, logits and all. [N]"""
    ids, mask, predicting = unshared(batch)
    logits = policy.model(input_ids=ids, attention_mask=mask, use_cache=False).logits.flatten(0, 1)[predicting]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    found: Tensor = logits.gather(-1, batch.targets[:, None])[:, 0] - logits.logsumexp(dim=-1)
    return found


def _made_up(sequence: TrainingSequence) -> list[TrainingSequence]:
    """Two continuations of one prompt, of tokens that `sequence` holds: its own, backwards."""
    ids = [*sequence.prompt_token_ids, *sequence.token_ids][:24][::-1]
    prompt, rest = [*ids, *ids][: len(ids) + 1], ids[: 1 + len(ids) // 2]
    return [replace(sequence, prompt_token_ids=prompt, token_ids=tokens) for tokens in (rest, [*rest, rest[0]])]


def _unsupported_in_training(policy: Policy, batch: PackedBatch, trains: bool) -> str | None:
    """What the kernels lack for training: dropout shows in training mode alone."""
    policy.train(trains)
    try:
        with _random_state_kept(batch.input_ids.device), _precision(policy, batch):
            policy.logprobs(batch)
    except UnsupportedAttention as error:
        return str(error)
    finally:
        policy.eval()
    return None


def _problem(policy: Policy, batch: PackedBatch, expected: Tensor, in_half: bool) -> str | None:
    try:
        with _precision(policy, batch):
            found = policy.logprobs(batch)
    except UnsupportedAttention as error:
        return str(error)
    dtype = torch.bfloat16 if in_half or policy.attention == "varlen" else next(policy.parameters()).dtype
    distance = float((found - expected).abs().max())
    if distance <= TOLERANCE_NATS.get(dtype, HALF_PRECISION_TOLERANCE_NATS):
        return None
    return f"its log-probs differ from the model's own by up to {distance:.3g} nats"


def _precision(policy: Policy, batch: PackedBatch) -> torch.autocast:
    """Flash attention has half precision alone; everything else is compared in the weights' own."""
    return torch.autocast(batch.input_ids.device.type, dtype=torch.bfloat16, enabled=policy.attention == "varlen")


def _random_state_kept(device: torch.device) -> AbstractContextManager[None]:
    """A resumed training draws as one that was never interrupted."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
