"""The steps of a training: which are left, what each does, what is skipped, and how it stops."""

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.processes import StopSignals
from grao_pipeline.progress import Progress
from grao_pipeline.training.checkpoints.model_directory import MetricsLog
from grao_pipeline.training.checkpoints.store import CheckpointStore
from grao_pipeline.training.data.groups import TrainingGroup, TrainingSet, step_plan
from grao_pipeline.training.gradient import GradientAccumulator
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.model.flops import StepCost
from grao_pipeline.training.model.memory import out_of_memory_is
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.model.self_check import check_policy
from grao_pipeline.training.off_policy_metrics import OriginSums
from grao_pipeline.training.optimizer import set_learning_rate
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.profiler import Profile
from grao_pipeline.training.schedule import learning_rate

SHOWN = ("J", "reward", "grad_norm", "tokens_per_second")
"""Metrics of the newest step that are shown next to the bar."""


@dataclass
class TrainerState:
    """Where a training is.

    Attributes:
        resumed_from: steps that were done before this run.
        skipped, skipped_in_a_row: steps without an update, resumed parts included.
        tokens: of all steps, resumed parts included.
        origins: off-policy sums of the first epoch, by origin, without skipped steps.
        cost, seconds: of this run.
    """

    resumed_from: int = 0
    steps: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    tokens: int = 0
    final_objective: float | None = None
    origins: OriginSums = field(default_factory=OriginSums)
    cost: StepCost = field(default_factory=StepCost)
    seconds: float = 0.0


def make_plan(data: TrainingSet, options: TrainOptions) -> list[tuple[int, list[int]]]:
    """(epoch, indices of the groups) of every step."""
    plan = step_plan(len(data), options.groups_per_step, options.epochs, options.seed)
    return list(islice(plan, options.max_steps))


def check_attention(policy: Policy, data: TrainingSet, options: TrainOptions, ranks: Ranks, progress: Progress) -> None:
    """Hold the policy's log-probs against the model's own, on sequences of the first step.

    Raises:
        UsageError: the chosen attention does not work for this model.
        InputError: no attention does.
    """
    groups = [data[index] for index in make_plan(data, options)[0][1][:2]]
    sequences = [sequence for group in groups for sequence in group.sequences[:2]]
    in_half = ranks.is_sharded and options.dtype == "bfloat16"
    with progress.track("checking attention"):
        check_policy(policy, sequences, progress, options.attention != "auto", ranks.device, in_half)
    progress.note(f"attention: {policy.attention}, checked against {type(policy.model).__name__}'s own")


class Trainer:
    """Policy, optimizer and position of one training run."""

    def __init__(
        self,
        options: TrainOptions,
        data: TrainingSet,
        policy: Policy,
        optimizer: torch.optim.Optimizer,
        gradient: GradientAccumulator,
        store: CheckpointStore,
        ranks: Ranks,
        directory: Path,
        progress: Progress,
    ) -> None:
        self._options = options
        self._data = data
        self._policy = policy
        self._optimizer = optimizer
        self._gradient = gradient
        self._store = store
        self._ranks = ranks
        self._progress = progress
        self._plan = make_plan(data, options)
        latest = ranks.first_does(lambda: store.latest)
        if latest is not None:
            store.load(latest, policy, optimizer, ranks)
            progress.note(f"resuming after step {latest.step} from {latest.path}")
        self._saved = latest.step if latest else 0
        left = len(self._plan) - self._saved
        self._profile = Profile(directory, left, ranks) if options.profile else None
        self._state = TrainerState(self._saved, self._saved)
        self._bar = progress.track("training", len(self._plan), "steps", self._saved)
        self._log = MetricsLog(directory, self._saved) if ranks.is_first else None
        for record in ranks.first_does(lambda: self._log.kept if self._log else []):
            self._count(record)

    def run(self) -> TrainerState:
        """Do the steps that are left.

        Raises:
            Interrupted: a signal came; the last whole step is saved.
            StageFailure: too many steps in a row, or all, were skipped; or out of memory.
        """
        started = time.perf_counter()
        left = self._plan[self._state.resumed_from :]
        with StopSignals() as signals, self._profile or nullcontext(), self._bar:
            for done, (epoch, indices) in enumerate(left, self._state.resumed_from + 1):
                groups = [self._data[index] for index in indices]
                try:
                    record = self._step(groups, done, epoch, signals)
                except Interrupted as reason:
                    self._optimizer.zero_grad(set_to_none=True)
                    raise self._ranks.agreed(Interrupted(self._stop(reason))) from None
                self._report(record, groups)
                every = self._options.checkpoint_steps
                if every and done % every == 0 and done < len(self._plan):
                    self._save(done)
        self._state.seconds = time.perf_counter() - started
        return self._state

    def _step(self, groups: list[TrainingGroup], step: int, epoch: int, signals: StopSignals) -> dict[str, Any]:
        """One optimizer step: loss = −mean of J over all groups of the step, however it is cut."""
        options = self._options
        started = time.perf_counter()
        torch.manual_seed(_seed(options.seed, step, self._ranks.rank))
        rate = learning_rate(step - 1, len(self._plan), options.learning_rate, options.warmup_steps, options.schedule)
        set_learning_rate(self._optimizer, rate)
        stats = self._gradient.add(groups, lambda: _received(signals))
        norm = self._clip()
        report = stats.metrics.report()
        is_finite = math.isfinite(norm) and math.isfinite(report["J"])
        if is_finite:
            self._update()
        self._optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - started
        self._state.cost += stats.cost
        if self._profile:
            self._profile.step()
        head = {"step": step, "epoch": epoch, "learning_rate": rate}
        tail = {
            "groups": len(groups),
            "tokens": stats.cost.tokens,
            "seconds": seconds,
            "tokens_per_second": stats.cost.tokens / max(seconds, 1e-9),
        }
        if is_finite:
            return {**head, **report, "grad_norm": norm, **tail, "origins": stats.metrics.origins()}
        what = f"the objective is {report['J']} and the gradient's norm {norm}"
        return {**head, "skipped": what, "group_ids": [group.group_id for group in groups], **tail}

    def _update(self) -> None:
        """Let the optimizer change the weights.

        Raises:
            StageFailure: out of memory; the first update makes the optimizer's moments.
        """
        failure = StageFailure(
            "Out of memory in the optimizer's update, whose two moments take twice the trained weights. To make it "
            "fit: train an adapter with --lora-rank 16; use --optimizer adamw-8bit; use --cpu-offload."
        )
        with out_of_memory_is(lambda: failure):
            self._optimizer.step()

    def _clip(self) -> float:
        """Clip the gradient, of all ranks, to its norm's limit; the norm it had."""
        from torch.distributed.tensor import DTensor

        trained = [parameter for parameter in self._policy.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if self._options.max_grad_norm and bool(norm.isfinite()):
            torch.nn.utils.clip_grads_with_norm_(trained, self._options.max_grad_norm, norm)
        return float(norm)

    def _report(self, record: dict[str, Any], groups: list[TrainingGroup]) -> None:
        """Log a step.

        Raises:
            StageFailure: it was one skipped step too many.
        """
        if self._log:
            self._log.append(record)
        self._count(record)
        self._bar.log(_line(record, len(self._plan)))
        self._bar.advance(1, **{name: record[name] for name in SHOWN if name in record})
        state = self._state
        none_was_trained = state.skipped == len(self._plan)
        if state.skipped_in_a_row >= self._options.max_skipped_steps or none_was_trained:
            names = ", ".join(group.group_id for group in groups[:4])
            failure = StageFailure(
                f"Step {record['step']}: {record['skipped']}; stopped before the weights were touched, after "
                f"{state.skipped_in_a_row} such in a row. Groups: {names}, … Lower --learning-rate or use --dtype "
                "float32, with another OUT."
            )
            raise self._ranks.agreed(failure)

    def _count(self, record: dict[str, Any]) -> None:
        state, skipped = self._state, "skipped" in record
        state.steps = record["step"]
        state.tokens += record["tokens"]
        state.skipped += skipped
        state.skipped_in_a_row = state.skipped_in_a_row + 1 if skipped else 0
        state.final_objective = record.get("J", state.final_objective)
        if record["epoch"] == 0:
            state.origins.merge_records(record.get("origins", []))

    def _save(self, step: int) -> None:
        self._store.save(step, self._policy, self._optimizer, self._ranks)
        self._saved = step

    def _stop(self, reason: Interrupted) -> str:
        """Save the last whole step; what to say."""
        steps = self._state.steps
        if self._options.checkpoint_steps and steps > self._saved:
            self._save(steps)
        kept = f"step {self._saved} of {len(self._plan)} is saved" if self._saved else "no step is saved"
        return f"{reason} {kept.capitalize()}; the same command goes on from there."


def _received(signals: StopSignals) -> str | None:
    """What a stop signal said, once one came."""
    try:
        next(signals.interruptible(iter([None])))
    except Interrupted as reason:
        return str(reason)
    return None


def _seed(seed: int, step: int, rank: int) -> int:
    """Of what is drawn in a step, so that no state of a generator must be kept for a resume."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def _line(record: dict[str, Any], total: int) -> str:
    def show(name: str, digits: int = 4) -> str:
        return "–" if record.get(name) is None else f"{record[name]:.{digits}f}"

    if "skipped" in record:
        return f"step {record['step']}/{total} · skipped: {record['skipped']}"
    shares = "/".join(show(f"{name}_share", 2) for name in ("exploration", "imitation", "regularizer"))
    return (
        f"step {record['step']}/{total} · J {show('J')} (exploration/imitation/regularizer {shares}) · "
        f"ℓ(o) {show('mean_logprob_samples', 3)} ℓ(y) {show('mean_logprob_references', 3)} · "
        f"reward {show('reward', 3)} · grad {show('grad_norm', 3)} · {record['tokens_per_second']:,.0f} tokens/s"
    )
