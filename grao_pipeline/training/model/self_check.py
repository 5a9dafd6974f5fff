"""Before the first step: are the log-probs of the fast path those of the model itself?

An architecture that bypasses the attention seam, or changes its logits in an unknown way, would otherwise silently be
trained on wrong log-probs.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.progress import Progress
from grao_pipeline.training.data.packing import PackedBatch, pack
from grao_pipeline.training.data.sequences import TrainingSequence
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

    Where shared prompts give other log-probs, the policy falls back to plain rows, with a notice.

    Args:
        sequences: of the first batch. Two synthetic ones are packed after them, so that even a batch of one reveals a
            model that ignores the layout.
        forced: the user chose the attention: an error instead of the fallback.
        device: where the policy computes, if its weights are elsewhere.
        in_half: the policy computes in half precision whatever the precision of its weights.

    Raises:
        UsageError: the chosen attention does not work for this model.
        InputError: plain rows do not work either.
    """
    was_training = policy.training
    policy.eval()
    try:
        device = device or next(policy.parameters()).device
        batch = pack([*sequences[:MAX_SEQUENCES], *_synthetic(sequences[0])], device)
        expected = policy.with_own_attention(lambda: plain_logprobs(policy, batch))
        name = type(policy.model).__name__
        if not bool(expected.isfinite().all()):
            raise InputError(f"The log-probs of {name} are not finite. Its weights are damaged, or hold NaN.")
        effect = policy.with_own_attention(lambda: _effect_of_the_future(policy, batch))
        if float(effect) > _tolerance(policy, in_half):
            raise InputError(
                f"{name} cannot be trained here: its log-probs depend on later tokens, so it is not a causal language "
                "model (or one whose config lacks is_decoder)."
            )
        policy.train(was_training, adapter_dropout=False)  # the model as it is trained, all other dropout included
        if policy.attention != ROWS:
            problem = _problem(policy, batch, expected, in_half)
            if problem is None:
                return
            if forced:
                raise UsageError(f"{policy.attention} does not work for {name}: {problem}.", option="attention")
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
    """Log-probs of the targets by the model's own forward, with the whole logits matrix. [N]"""
    ids, mask, predicting = unshared(batch)
    logits = policy.model(input_ids=ids, attention_mask=mask, use_cache=False).logits.flatten(0, 1)[predicting]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logprobs: Tensor = logits.gather(-1, batch.targets[:, None])[:, 0] - logits.logsumexp(dim=-1)
    return logprobs


def _synthetic(sequence: TrainingSequence) -> list[TrainingSequence]:
    """Two continuations of one prompt, made from the tokens of `sequence` in reverse order."""
    ids = [*sequence.prompt_token_ids, *sequence.token_ids][:24][::-1]
    prompt, rest = [*ids, *ids][: len(ids) + 1], ids[: 1 + len(ids) // 2]
    unmasked = replace(sequence, mask=None)
    return [replace(unmasked, prompt_token_ids=prompt, token_ids=tokens) for tokens in (rest, [*rest, rest[0]])]


@torch.no_grad()
def _effect_of_the_future(policy: Policy, batch: PackedBatch) -> Tensor:
    """By how much the log-probs of a row change when a later token does. []"""
    ids, mask, _ = unshared(batch)
    length = int(mask[-1].sum())
    rows = torch.stack([ids[-1, :length], ids[-1, :length]])
    others = batch.input_ids[batch.input_ids != rows[1, -1]]
    rows[1, -1] = others[0] if len(others) else 0
    logits = policy.model(input_ids=rows, attention_mask=torch.ones_like(rows), use_cache=False).logits[:, :-1]
    first, second = logits.float().log_softmax(dim=-1)
    largest: Tensor = (first - second).abs().max()
    return largest


def _problem(policy: Policy, batch: PackedBatch, expected: Tensor, in_half: bool) -> str | None:
    try:
        with _precision(policy, batch):
            logprobs = policy.logprobs(batch)
    except UnsupportedAttention as error:
        return str(error)
    distance = float((logprobs - expected).abs().max())
    if distance <= _tolerance(policy, in_half):
        return None
    return f"its log-probs differ from the model's own by up to {distance:.3g} nats"


def _tolerance(policy: Policy, in_half: bool) -> float:
    dtype = torch.bfloat16 if in_half or policy.attention == "varlen" else next(policy.parameters()).dtype
    return TOLERANCE_NATS.get(dtype, HALF_PRECISION_TOLERANCE_NATS)


def _precision(policy: Policy, batch: PackedBatch) -> torch.autocast:
    """Half precision for flash attention, which has no other; the precision of the weights for everything else."""
    return torch.autocast(batch.input_ids.device.type, dtype=torch.bfloat16, enabled=policy.attention == "varlen")
