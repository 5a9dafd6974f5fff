"""What `auto` means where a training starts: its precision, and whether activations are recomputed.

The fingerprint of a training has its options as they are given: the rounds plan trainings on machines without their
devices. What was chosen, and why, is in the summary and in the manifest of the model.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from grao_pipeline.training.checkpoints.disk import GIB, MOMENT_BYTES
from grao_pipeline.training.data.packing import pack, packed_tokens
from grao_pipeline.training.data.sequences import TrainingGroup, TrainingSequence
from grao_pipeline.training.gradient import GradientAccumulator
from grao_pipeline.training.model.activations import stored_for_backward
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.options import TrainOptions

USABLE = 0.85
"""Share of a device's memory that an estimate may reach; fragmentation and temporary tensors need the rest."""


@dataclass(frozen=True)
class DeviceReport:
    """What a training chooses by.

    Example: `DeviceReport("cuda", has_bfloat16=True, free=80 * GIB)`
    """

    kind: str
    has_bfloat16: bool = False
    free: int | None = None
    """Bytes of its memory before the model is loaded; None on CPU, where nothing is chosen by it."""

    @staticmethod
    def of(device: torch.device) -> "DeviceReport":
        """What torch says of a device."""
        if device.type != "cuda":
            return DeviceReport(device.type)
        return DeviceReport("cuda", torch.cuda.is_bf16_supported(), torch.cuda.mem_get_info(device)[0])


def settled(options: TrainOptions, device: DeviceReport) -> tuple[TrainOptions, dict[str, str]]:
    """The options with the precision that `auto` means, and what was chosen and why, by option."""
    if options.dtype != "auto":
        return options, {}
    if options.load_in_4bit:
        dtype, why = "bfloat16", "of a 4-bit training"
    elif device.kind == "cuda" and device.has_bfloat16:
        dtype, why = "bfloat16", "the device is CUDA; weights and optimizer stay float32"
    else:
        dtype, why = "float32", f"the device is {device.kind} and computes faster, or only, in it"
    return options.model_copy(update={"dtype": dtype}), {"dtype": f"{dtype}: {why}"}


def choose_recomputation(
    policy: Policy,
    groups: Sequence[TrainingGroup],
    gradient: GradientAccumulator,
    options: TrainOptions,
    ranks: Ranks,
    device: DeviceReport,
) -> dict[str, str]:
    """Recompute activations in the backward pass where the estimate of the memory says that the training does not fit
    without it; what was chosen and why. A collective.

    Args:
        groups: of a step.
    """
    if options.gradient_checkpointing is not None or device.free is None:
        return {}
    try:
        size = _state_bytes(policy, options) + _activation_bytes(policy, groups, gradient, options, ranks)
    except torch.OutOfMemoryError:
        size = sys.maxsize
    largest = max(ranks.gather(size))
    does_not_fit = largest > USABLE * device.free
    if does_not_fit:
        policy.recompute()
    need = "more than there is" if largest == sys.maxsize else f"about {largest / GIB:.1f}"
    estimate = f"without it the training needs {need} of {device.free / GIB:.1f} GiB"
    return {"gradient_checkpointing": f"{'on' if does_not_fit else 'off'}: {estimate}"}


def _state_bytes(policy: Policy, options: TrainOptions) -> int:
    """Of this rank's weights, gradients and optimizer."""
    size = 0
    for parameter in policy.parameters():
        local = parameter.to_local() if hasattr(parameter, "to_local") else parameter
        weights = local.numel() * local.element_size()
        size += weights
        if parameter.requires_grad:
            size += weights + local.numel() * MOMENT_BYTES[options.optimizer]
    return size


def _activation_bytes(
    policy: Policy,
    groups: Sequence[TrainingGroup],
    gradient: GradientAccumulator,
    options: TrainOptions,
    ranks: Ranks,
) -> int:
    """Of the largest micro-batch: in proportion to tokens, from one and from several sequences of a group."""
    group = max(groups, key=lambda group: packed_tokens(group.sequences)).sequences
    (few, less), (many, more) = (_stored(policy, part, gradient, ranks) for part in (group[:1], group))
    per_token = (more - less) / (many - few) if many > few else more / many
    step = sum(packed_tokens(group.sequences) for group in groups) // ranks.size
    tokens = max(many, min(options.tokens_per_batch, step))
    return int(more + per_token * (tokens - many))


def _stored(
    policy: Policy, sequences: Sequence[TrainingSequence], gradient: GradientAccumulator, ranks: Ranks
) -> tuple[int, int]:
    """(tokens, bytes that are stored for the backward pass) of a batch of these sequences."""
    batch = pack(sequences, ranks.device)
    with stored_for_backward(policy) as stored, gradient.precision():
        policy(batch, lambda logprobs: logprobs.sum(), True)
    return batch.num_tokens, sum(stored.values())
