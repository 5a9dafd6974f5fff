"""`grao train`: groups + advantages → model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from grao_pipeline.errors import MismatchError, UsageError
from grao_pipeline.models.devices import resolve_device
from grao_pipeline.models.source import locate_model
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.training.checkpoints.export import export
from grao_pipeline.training.checkpoints.model_directory import read_model_manifest, remove_temporaries
from grao_pipeline.training.checkpoints.store import CheckpointStore, remove_checkpoints
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.gradient import GradientAccumulator
from grao_pipeline.training.inputs import TrainingInputs, load_data, open_inputs
from grao_pipeline.training.model.distributed import Ranks, joined
from grao_pipeline.training.model.flops import FlopCounter, measure_peak
from grao_pipeline.training.model.loading import load_policy
from grao_pipeline.training.objectives.make import make_objective
from grao_pipeline.training.off_policy_metrics import origin_reports
from grao_pipeline.training.optimizer import make_optimizer
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.trainer import Trainer, TrainerState, check_attention


@dataclass
class TrainSummary:
    """What a training did, resumed parts included; times, speeds and shares are of this run.

    Attributes:
        skipped_steps: steps without an update, since the loss or the gradient was not finite.
        padding_share: share of padding in what the model processed.
        flops_utilization: of the speed of a plain matrix product on this device (see `model.flops.FlopCounter`).
        origins: of each, how stale and how far off-policy its samples were in the first epoch (see `origin_reports`).
    """

    groups: int = 0
    groups_trained: int = 0
    groups_too_old: int = 0
    steps: int = 0
    skipped_steps: int = 0
    resumed_from_step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    padding_share: float = 0.0
    flops_utilization: float = 0.0
    ranks: int = 1
    final_objective: float | None = None
    origins: list[dict[str, Any]] = field(default_factory=list)
    fingerprint: str = ""
    model: str = ""
    was_complete: bool = False


def train_model(
    groups_url: str,
    advantages_url: str,
    out: str,
    options: TrainOptions,
    progress: Progress = SILENT,
) -> TrainSummary:
    """Train a model on groups and write it as a Hugging Face model directory; under torchrun, over all ranks.

    Example:
        options = TrainOptions(model="models/base", learning_rate=1e-5)
        train_model("runs/groups", "runs/advantages", "runs/model", options)

    The groups of `options.replay` are trained on as if they followed in the main tables.

    Raises:
        InputError: an input is not usable, or nothing in it is to be trained on.
        MismatchError: groups, advantages and model do not belong together, or `out` holds other work.
        StageFailure: the loss stayed non-finite, memory ran out, or another process trains into `out`.
        Interrupted: SIGTERM or SIGINT; what was done is saved.
    """
    if "://" in out:
        raise UsageError(f"OUT {out}: a model is written to a local directory; copy it from there.")
    if options.dry_run:
        raise UsageError("a training writes a model; see estimate_training.", option="dry_run")
    with joined(resolve_device(options.device), options) as ranks:
        told = progress if ranks.is_first else SILENT
        source = ranks.first_does(lambda: locate_model(options.model))  # it reads the weights: once is enough
        prepared: list[_Prepared] = []

        def prepare() -> TrainSummary | None:
            inputs = open_inputs(groups_url, advantages_url, options, source)
            return _prepare(inputs, Path(out), options, told, prepared)

        finished = ranks.first_does(prepare)
        if finished is not None:
            return finished
        if not ranks.is_first:
            prepare()
        return _train(prepared[0], Path(out), options, ranks, told)


@dataclass(frozen=True)
class _Prepared:
    """What a training starts from, checked."""

    inputs: TrainingInputs
    store: CheckpointStore
    data: TrainingSet


def _prepare(
    inputs: TrainingInputs, out: Path, options: TrainOptions, progress: Progress, prepared: list[_Prepared]
) -> TrainSummary | None:
    """Check all inputs and append them to `prepared`; or the summary, where all is done already."""
    finished = read_model_manifest(out)
    if finished is not None:
        if finished.provenance.fingerprint != inputs.provenance.fingerprint:
            raise MismatchError(
                f"{out} holds the model of training {finished.provenance.fingerprint}; this command is "
                f"{inputs.provenance.fingerprint}. Choose another output directory, or delete this one."
            )
        remove_temporaries(out)
        remove_checkpoints(out)
        progress.note(f"{out} holds the model of this very training; nothing to do.")
        return TrainSummary(**{**finished.summary, "was_complete": True, "model": finished.model})
    store = CheckpointStore(out, inputs.provenance.fingerprint)
    with progress.track("reading groups and advantages"):
        prepared.append(_Prepared(inputs, store, load_data(inputs, options)))
    return None


def _train(prepared: _Prepared, out: Path, options: TrainOptions, ranks: Ranks, progress: Progress) -> TrainSummary:
    inputs, store, data = prepared.inputs, prepared.store, prepared.data
    if data.num_too_old:
        behind = f"more than {options.max_rounds_behind} rounds older than the newest"
        progress.note(f"{data.num_too_old} of {data.num_groups} groups are left out: they are {behind}.")
    objective, correction = make_objective(options, data)
    torch.manual_seed(options.seed)
    with progress.track(f"loading {options.model}"):
        policy, flops = load_policy(inputs.source, options, ranks)
    optimizer = make_optimizer(policy.parameters(), options, ranks)
    gradient = GradientAccumulator(policy, objective, correction, options, ranks)
    try:
        ranks.first_does(store.claim)
        peak = sum(ranks.gather(measure_peak(ranks.device, getattr(torch, options.dtype))))
        trainer = Trainer(options, data, policy, optimizer, gradient, store, ranks, out, progress)
        check_attention(policy, data, options, ranks, progress)
        state = trainer.run()
        summary = _summarize(state, data, ranks, flops, peak)
        summary.fingerprint = inputs.provenance.fingerprint
        with progress.track(f"writing {out}"):
            summary.model = export(policy, inputs, options, ranks, out, summary)
        ranks.first_does(lambda: remove_checkpoints(out))
    finally:
        store.release()
    return summary


def _summarize(state: TrainerState, data: TrainingSet, ranks: Ranks, flops: FlopCounter, peak: float) -> TrainSummary:
    """`peak`: floating-point operations a second of matrix products on all ranks, as measured at the start."""
    cost, seconds = state.cost, max(state.seconds, 1e-9)
    return TrainSummary(
        groups=data.num_groups,
        groups_trained=len(data),
        groups_too_old=data.num_too_old,
        steps=state.steps,
        skipped_steps=state.skipped,
        resumed_from_step=state.resumed_from,
        tokens=state.tokens,
        seconds=state.seconds,
        tokens_per_second=cost.tokens / seconds,
        padding_share=cost.padding / max(cost.processed, 1),
        flops_utilization=flops.flops(cost) / seconds / peak,
        ranks=ranks.size,
        final_objective=state.final_objective,
        origins=origin_reports(data.origins, state.origins),
    )
