"""The gradient of a step: exact, however the step is cut into micro-batches and dealt to ranks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.training.data.balance import balance
from grao_pipeline.training.data.packing import pack, packed_tokens
from grao_pipeline.training.data.sequences import TrainingGroup, TrainingSequence, micro_batches
from grao_pipeline.training.metrics import StepMetrics
from grao_pipeline.training.micro_batch import run_micro_batch
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.model.flops import StepCost, cost_of
from grao_pipeline.training.model.memory import out_of_memory_is
from grao_pipeline.training.model.policy import ROWS, Policy
from grao_pipeline.training.objectives.base import Objective
from grao_pipeline.training.objectives.importance_sampling import Correction
from grao_pipeline.training.options import TrainOptions

StopRequest = Callable[[], str | None]
"""Returns why to stop, or None; `StopSignals.poll`."""


@dataclass
class StepStats:
    """Metrics and cost of a step, over all ranks. The gradient itself is in the parameters."""

    metrics: StepMetrics
    cost: StepCost


class GradientAccumulator:
    """Accumulates −∇J of a step, the mean over all its groups, in the parameters.

    Groups are dealt to the ranks whole, so that all ranks have about the same number of tokens; every rank then cuts
    its groups into micro-batches. FSDP's collectives must match in number: a rank with fewer micro-batches adds empty
    ones. FSDP averages over ranks, which is undone by multiplying with their number.
    """

    def __init__(
        self, policy: Policy, objective: Objective, correction: Correction, options: TrainOptions, ranks: Ranks
    ) -> None:
        self._policy = policy
        self._objective = objective
        self._correction = correction
        self._options = options
        self._ranks = ranks

    def add(self, groups: Sequence[TrainingGroup], stop_request: StopRequest, progress: float = 0.0) -> StepStats:
        """Add the gradient of a step to the parameters. A collective.

        Args:
            progress: share of the training's steps that are done.

        Raises:
            Interrupted: a rank was asked to stop; the gradient is incomplete.
            StageFailure: out of memory.
        """
        batches = self.cut(groups)
        counts = self._ranks.gather(len(batches))
        step = StepStats(StepMetrics(len(groups)), StepCost())
        for number in range(max(counts)):
            self._stop_if_asked(stop_request)
            if number >= len(batches):
                self._add_empty_batch(groups)
                continue
            self.add_batch(batches[number], len(groups), step, progress)
        for rank, other in enumerate(self._ranks.gather(step)):
            if rank != self._ranks.rank:
                step.metrics.merge(other.metrics)
                step.cost += other.cost
        return step

    def cut(self, groups: Sequence[TrainingGroup]) -> list[list[TrainingSequence]]:
        """This rank's micro-batches of a step."""
        sizes = [packed_tokens(group.sequences) for group in groups]
        indices = balance(sizes, self._ranks.size)[self._ranks.rank]
        whole_groups = self._objective.traits.couples_group
        return list(micro_batches([groups[index] for index in indices], self._options.tokens_per_batch, whole_groups))

    def add_batch(
        self, sequences: list[TrainingSequence], num_groups: int, step: StepStats, progress: float = 0.0
    ) -> None:
        """Add the gradient of one micro-batch to the parameters, and its metrics and cost to `step`.

        Args:
            num_groups: of the whole step.

        Raises:
            StageFailure: out of memory; the message names the groups and what to lower.
        """
        with out_of_memory_is(lambda: self._out_of_memory(sequences)):
            with self.precision():
                objective, device = self._objective.at(progress), self._ranks.device
                micro_batch = run_micro_batch(self._policy, objective, sequences, device, self._correction, progress)
            (micro_batch.surrogate * self._ranks.size / num_groups).backward()  # type: ignore[no-untyped-call]
        step.metrics.add(sequences, micro_batch.inputs, micro_batch.outputs)
        step.cost += cost_of(micro_batch.batch, self._policy.attention == ROWS)

    def _add_empty_batch(self, groups: Sequence[TrainingGroup]) -> None:
        """Run forward and backward on the step's shortest sequence with a loss of 0."""
        shortest = min((s for group in groups for s in group.sequences), key=lambda sequence: sequence.num_tokens)
        batch = pack([shortest], self._ranks.device)
        with self.precision():
            surrogate, _ = self._policy(batch, lambda logprobs: (logprobs * 0.0).sum(), True)
        surrogate.backward()

    def precision(self) -> torch.autocast:
        """The context in which the policy computes."""
        is_half = self._options.dtype == "bfloat16"
        return torch.autocast(self._ranks.device.type, dtype=torch.bfloat16, enabled=is_half)

    def _stop_if_asked(self, stop_request: StopRequest) -> None:
        """Stop on all ranks where one was asked to, so that none waits for it."""
        reason = next((reason for reason in self._ranks.gather(stop_request()) if reason is not None), None)
        if reason is not None:
            raise Interrupted(reason)

    def _out_of_memory(self, sequences: list[TrainingSequence]) -> StageFailure:
        names = list(dict.fromkeys(sequence.group_id for sequence in sequences))
        options = self._options
        ways = [f"lower --tokens-per-batch ({options.tokens_per_batch})"]
        ways += ["use --gradient-checkpointing"] * (not self._policy.recomputes)
        ways += ["use --dtype bfloat16"] * (options.dtype == "float32")
        ways += ["train an adapter with --lora-rank 16"] * (not options.lora_rank)
        return StageFailure(
            f"Out of memory on a micro-batch of {len(sequences)} sequences ({packed_tokens(sequences):,} tokens) of "
            f"groups {', '.join(names[:4])}{', …' if len(names) > 4 else ''}. To make it fit: {'; '.join(ways)}."
        )
