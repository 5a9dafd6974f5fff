"""The steps of a training: which remain, what a step does, when it is skipped, and how a training stops."""

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from grao_pipeline.errors import Interrupted, StageFailure
from grao_pipeline.models.manifest import METRICS
from grao_pipeline.processes import StopSignals
from grao_pipeline.progress import Progress
from grao_pipeline.training.checkpoints.disk import write_errors_as_failure
from grao_pipeline.training.checkpoints.metrics_log import MetricsLog
from grao_pipeline.training.checkpoints.store import CheckpointStore
from grao_pipeline.training.data.groups import TrainingSet, step_plan
from grao_pipeline.training.data.sequences import TrainingGroup
from grao_pipeline.training.learner import Learner
from grao_pipeline.training.model.distributed import Ranks
from grao_pipeline.training.model.flops import StepCost
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.model.self_check import check_policy
from grao_pipeline.training.off_policy_metrics import OriginSums
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.profiler import Profile
from grao_pipeline.training.schedule import learning_rate

SHOWN = ("J", "reward", "grad_norm", "tokens_per_second")
"""Metrics of the newest step that are shown next to the bar."""
TOTALS = ("steps", "skipped", "skipped_in_a_row", "tokens", "final_objective")


@dataclass
class TrainerState:
    """How far a training is.

    Attributes:
        resumed_from: steps that earlier runs did.
        skipped, skipped_in_a_row: steps without an update, those of earlier runs included.
        tokens: of all steps, those of earlier runs included.
        origins: off-policy sums of the first epoch by origin, without skipped steps.
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

    def totals(self) -> dict[str, object]:
        """What a checkpoint holds of it, as JSON."""
        return {**{name: getattr(self, name) for name in TOTALS}, "origins": self.origins.records()}

    @staticmethod
    def resumed(totals: Mapping[str, Any]) -> "TrainerState":
        """The state after the steps of a checkpoint."""
        values = dict(totals)
        state = TrainerState(resumed_from=totals["steps"])
        state.origins.merge_records(values.pop("origins"))
        return replace(state, **values)


def make_plan(data: TrainingSet, options: TrainOptions) -> list[tuple[int, list[int]]]:
    """(epoch, indices of the groups) of every step."""
    plan = step_plan(len(data), options.groups_per_step, options.epochs, options.seed)
    return list(islice(plan, options.max_steps))


def check_attention(policy: Policy, data: TrainingSet, options: TrainOptions, ranks: Ranks, progress: Progress) -> None:
    """Compare the policy's log-probs with the model's own forward on sequences of the first step.

    Raises:
        UsageError: the chosen attention does not work for this model.
        InputError: no attention works for it.
    """
    groups = [data[index] for index in make_plan(data, options)[0][1][:2]]
    sequences = [sequence for group in groups for sequence in group.sequences[:2]]
    in_half = ranks.is_sharded and options.dtype == "bfloat16"
    with progress.track("checking attention"):
        check_policy(policy, sequences, progress, options.attention != "auto", ranks.device, in_half)
    if policy.dropout:
        progress.note(
            f"dropout of the model ({policy.dropout}) is off: with it, log-probs would differ from those of the policy "
            "that sampled. --lora-dropout has its place in an adapter."
        )
    progress.note(f"attention: {policy.attention}, checked against {type(policy.model).__name__}'s own")


class Trainer:
    """Runs the steps of a training that are left, and records them.

    Construction restores the newest checkpoint, where there is one. A collective.

    Args:
        earlier_steps: that the optimizer did in the trainings that it was carried from.
    """

    def __init__(
        self,
        options: TrainOptions,
        data: TrainingSet,
        learner: Learner,
        store: CheckpointStore,
        ranks: Ranks,
        progress: Progress,
        earlier_steps: int = 0,
    ) -> None:
        self._options = options
        self._earlier_steps = earlier_steps
        self._data = data
        self._learner = learner
        self._store = store
        self._ranks = ranks
        self._plan = make_plan(data, options)
        self._progress = progress
        latest = ranks.from_first(lambda: store.latest)
        record = None if latest is None else store.load(latest, learner.policy, learner.optimizer, ranks)
        if latest is not None:
            progress.note(f"resuming after step {latest.step} from {latest.path}")
        self._saved = latest.step if latest else 0
        num_left = len(self._plan) - self._saved
        self._profile = Profile(store.out, num_left, ranks) if options.profile else None
        self._state = TrainerState.resumed(record.totals) if record else TrainerState()
        self._bar = progress.track("training", len(self._plan), "steps", self._saved)
        self._log = MetricsLog(store.out, self._saved, record.metrics if record else None) if ranks.is_first else None
        if self._log and self._log.problem:
            progress.warn(self._log.problem)

    @property
    def trained(self) -> set[int]:
        """Indices of the groups of all steps that were made, those of earlier runs included."""
        return {index for _, indices in self._plan[: self._state.steps] for index in indices}

    def run(self) -> TrainerState:
        """Run the steps that are left.

        Raises:
            Interrupted: a signal came; the last whole step is saved.
            StageFailure: too many steps in a row, or all, were skipped; or out of memory.
        """
        started = time.perf_counter()
        remaining = self._plan[self._state.resumed_from :]
        with StopSignals() as signals, self._profile or nullcontext(), self._bar:
            for step, (epoch, indices) in enumerate(remaining, self._state.resumed_from + 1):
                groups = [self._data[index] for index in indices]
                try:
                    record = self._step(groups, step, epoch, signals)
                except Interrupted as reason:
                    self._learner.clear_gradient()
                    raise self._ranks.agreed(Interrupted(self._stop(reason))) from None
                self._report(record, groups)
                interval = self._options.checkpoint_steps
                if interval and step % interval == 0 and step < len(self._plan):
                    self._save(step)
            self._save_last()
        self._state.seconds = time.perf_counter() - started
        return self._state

    def _step(self, groups: list[TrainingGroup], step: int, epoch: int, signals: StopSignals) -> dict[str, Any]:
        """One optimizer step: loss = −mean of J over all groups of the step, however it is cut.

        Returns:
            the step's record for metrics.jsonl.
        """
        options = self._options
        started = time.perf_counter()
        torch.manual_seed(_seed(options.seed, step, self._ranks.rank))
        rate = learning_rate(
            step - 1,
            len(self._plan),
            options.learning_rate,
            options.warmup_steps,
            options.schedule,
            self._earlier_steps,
        )
        progress = (step - 1) / max(1, len(self._plan) - 1)
        stats = self._learner.gradient.add(groups, signals.poll, progress)
        norm = self._learner.clip()
        report = stats.metrics.report()
        is_finite = math.isfinite(norm) and math.isfinite(report["J"])
        if is_finite:
            self._learner.update(rate)
        self._learner.clear_gradient()
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
        problem = f"the objective is {report['J']} and the gradient's norm {norm}"
        return {**head, "skipped": problem, "group_ids": [group.group_id for group in groups], **tail}

    def _report(self, record: dict[str, Any], groups: list[TrainingGroup]) -> None:
        """Log a step.

        Raises:
            StageFailure: too many steps were skipped, or the disk is full.
        """
        if self._log:
            remedy = f"{self.saved} Free space and run the command again."
            with write_errors_as_failure(self._store.out / METRICS, remedy):
                self._log.append(record)
        self._count(record)
        self._bar.log(_line(record, len(self._plan)))
        self._bar.advance(1, **{name: record[name] for name in SHOWN if name in record})
        state = self._state
        all_were_skipped = state.skipped == len(self._plan)
        if state.skipped_in_a_row >= self._options.max_skipped_steps or all_were_skipped:
            names = ", ".join(group.group_id for group in groups[:4])
            failure = StageFailure(
                f"Step {record['step']}: {record['skipped']}; stopped without an update of the weights, after "
                f"{state.skipped_in_a_row} skipped steps in a row. Groups: {names}, … Lower --learning-rate or use "
                "--dtype float32, with another OUT."
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

    @property
    def saved(self) -> str:
        """What a run after this one would resume from, for people."""
        return f"Step {self._saved} of {len(self._plan)} is saved." if self._saved else "No step is saved."

    def _save(self, step: int) -> None:
        self._store.save(step, self._learner.policy, self._learner.optimizer, self._ranks, self._state.totals())
        self._saved = step

    def _save_last(self) -> None:
        """Save the last step, too, where others were saved: should writing the model fail, no step is lost."""
        steps = self._state.steps
        if 0 < self._options.checkpoint_steps < len(self._plan) and steps > self._saved:
            try:
                self._save(steps)
            except StageFailure as failure:  # the model may fit nevertheless
                self._progress.warn(f"{failure} The model is written nevertheless.")

    def _stop(self, reason: Interrupted) -> str:
        """Save the last whole step; the message for people."""
        steps = self._state.steps
        if self._options.checkpoint_steps and steps > self._saved:
            self._save(steps)
        return f"{reason} {self.saved} Run the same command to resume."


def _seed(seed: int, step: int, rank: int) -> int:
    """Seed of the random numbers of a step, so that a resume needs no saved generator state."""
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
