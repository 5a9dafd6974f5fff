"""Estimate memory, disk and time of a training: from the data, and by its largest micro-batch. Writes nothing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import torch

from grao_pipeline.errors import UsageError
from grao_pipeline.models.devices import resolve_device
from grao_pipeline.models.source import locate_model
from grao_pipeline.training import notes
from grao_pipeline.training.checkpoints.disk import GIB, MOMENT_BYTES, DiskNeed
from grao_pipeline.training.checkpoints.export import disk_need
from grao_pipeline.training.choices import DeviceReport, choose_recomputation, settled
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.data.origins import Origin
from grao_pipeline.training.data.packing import packed_tokens
from grao_pipeline.training.data.sequences import TrainingSequence
from grao_pipeline.training.gradient import GradientAccumulator, StepStats
from grao_pipeline.training.inputs import load_data, open_inputs
from grao_pipeline.training.metrics import StepMetrics
from grao_pipeline.training.model.activations import stored_for_backward
from grao_pipeline.training.model.attention.base import choose_attention
from grao_pipeline.training.model.distributed import Ranks, joined
from grao_pipeline.training.model.flops import StepCost
from grao_pipeline.training.model.loading import load_policy
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.make import make_objective, objective_of_options
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.trainer import make_plan


@dataclass(frozen=True)
class DryRun:
    """Estimate of a training.

    Attributes:
        steps, groups: of all epochs.
        tokens: tokens that the model would process, each prompt once for all its continuations.
        unshared_tokens: tokens with the prompt repeated for every continuation.
        weights_gib, gradients_gib, optimizer_gib: computed from the number of parameters and their precision.
        activations_gib: measured: what the largest micro-batch stores for its backward pass.
        memory_gib: the sum of these four, without temporary tensors and fragmentation.
        largest_micro_batch: its tokens.
        seconds_per_step, total_seconds: measured on the largest micro-batch, in proportion to tokens; without the
            optimizer's update, checkpoints and saving.
        model_gib, checkpoint_gib: sizes on disk of the trained model (or adapter), and of a checkpoint.
        disk_gib: the most that lies in OUT at once.
        origins: origins of the groups, with their staleness.
        chosen: what `auto` meant and why, by option.
    """

    steps: int
    groups: int
    tokens: int
    unshared_tokens: int
    parameters: int
    trained_parameters: int
    weights_gib: float
    gradients_gib: float
    optimizer_gib: float
    activations_gib: float
    memory_gib: float
    largest_micro_batch: int
    seconds_per_step: float
    total_seconds: float
    model_gib: float
    checkpoint_gib: float
    disk_gib: float
    origins: list[Origin]
    notes: list[str] = field(default_factory=list)
    chosen: dict[str, str] = field(default_factory=dict)


def estimate_training(groups_url: str, advantages_url: str, options: TrainOptions) -> DryRun:
    """Count the tokens of a training, and time its largest micro-batch, forward and backward, without an update.

    Raises:
        InputError, MismatchError: as `train_model`.
        StageFailure: the largest micro-batch does not fit in memory.
        UsageError: it was started on several ranks.
    """
    objective_of_options(options)  # refused before a model is looked for
    device = DeviceReport.of(torch.device(resolve_device(options.device)))
    given, (options, chosen) = options, settled(options, device)
    choose_attention(options.attention, torch.device(device.kind), options.dtype)  # refused before anything is read
    inputs = open_inputs(groups_url, advantages_url, given, locate_model(options.model, options.adapter))
    data = load_data(inputs, options)
    objective, correction = make_objective(options, data)
    with joined(resolve_device(options.device), options) as ranks:
        if ranks.is_sharded:
            raise UsageError("a dry run is a single process. Leave out torchrun and --cpu-offload.", option="dry_run")
        policy, _ = load_policy(inputs.source, options, ranks)
        gradient = GradientAccumulator(policy, objective, correction, options, ranks)
        plan = [indices for _, indices in make_plan(data, options)]
        first = [data[index] for index in plan[0]]
        chosen |= choose_recomputation(policy, first, gradient, options, ranks, device)
        need = disk_need(policy, inputs.source, options, len(plan))
        return replace(_estimate(policy, gradient, data, plan, options, ranks, need), chosen=chosen)


def _estimate(
    policy: Policy,
    gradient: GradientAccumulator,
    data: TrainingSet,
    plan: Sequence[Sequence[int]],
    options: TrainOptions,
    ranks: Ranks,
    need: DiskNeed,
) -> DryRun:
    """Args: plan: indices of the groups of every step."""
    tokens = unshared = 0
    largest: list[TrainingSequence] = []
    for indices in plan:
        for batch in gradient.cut([data[index] for index in indices]):
            size = packed_tokens(batch)
            tokens += size
            unshared += sum(sequence.num_tokens for sequence in batch)
            largest = max(largest, batch, key=packed_tokens)
    seconds, activation_bytes = _run(policy, gradient, largest, ranks)
    total = seconds * tokens / packed_tokens(largest)
    parameters = list(policy.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    count = sum(parameter.numel() for parameter in trained)
    weights, gradients = _bytes(parameters) / GIB, _bytes(trained) / GIB
    moments, activations = count * MOMENT_BYTES[options.optimizer] / GIB, activation_bytes / GIB
    return DryRun(
        steps=len(plan),
        groups=sum(map(len, plan)),
        tokens=tokens,
        unshared_tokens=unshared,
        parameters=sum(parameter.numel() for parameter in parameters),
        trained_parameters=count,
        weights_gib=weights,
        gradients_gib=gradients,
        optimizer_gib=moments,
        activations_gib=activations,
        memory_gib=weights + gradients + moments + activations,
        largest_micro_batch=packed_tokens(largest),
        seconds_per_step=total / len(plan),
        total_seconds=total,
        model_gib=need.model / GIB,
        checkpoint_gib=need.checkpoint / GIB,
        disk_gib=need.peak / GIB,
        origins=data.origins,
        notes=[
            *notes.few_steps(len(plan), len(set(chain(*plan))), options),
            *notes.learning_rate(options.learning_rate, is_lora=options.lora_rank > 0),
        ],
    )


def _run(
    policy: Policy, gradient: GradientAccumulator, sequences: list[TrainingSequence], ranks: Ranks
) -> tuple[float, int]:
    """Seconds of a micro-batch after a warm-up, and the bytes that it stores for the backward pass."""
    with stored_for_backward(policy) as stored:
        gradient.add_batch(sequences, 1, StepStats(StepMetrics(1), StepCost()))
    _wait(ranks.device)
    started = time.perf_counter()
    gradient.add_batch(sequences, 1, StepStats(StepMetrics(1), StepCost()))
    _wait(ranks.device)
    seconds = time.perf_counter() - started
    policy.zero_grad(set_to_none=True)
    return seconds, sum(stored.values())


def _bytes(parameters: list[torch.nn.Parameter]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
