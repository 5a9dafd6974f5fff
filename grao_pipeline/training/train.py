"""`grao train`: groups + advantages → model."""

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from grao_pipeline.errors import UsageError
from grao_pipeline.models.devices import resolve_device
from grao_pipeline.models.manifest import read_model_manifest
from grao_pipeline.models.source import locate_model
from grao_pipeline.models.stored import is_url, made_in_copy
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.tracking.follow import check_trackers
from grao_pipeline.tracking.following import followed
from grao_pipeline.training import notes
from grao_pipeline.training.carried import carried_optimizer
from grao_pipeline.training.checkpoints.export import export, prepare_export
from grao_pipeline.training.checkpoints.optimizer_state import load_optimizer
from grao_pipeline.training.checkpoints.store import CheckpointStore, finished_summary, remove_checkpoints
from grao_pipeline.training.choices import DeviceReport, choose_recomputation, settled
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.gradient import GradientAccumulator
from grao_pipeline.training.inputs import TrainingInputs, load_data, open_inputs
from grao_pipeline.training.launch import ranks_to_start, train_in_processes
from grao_pipeline.training.learner import Learner
from grao_pipeline.training.model.attention.base import choose_attention
from grao_pipeline.training.model.distributed import Ranks, asked_for, joined
from grao_pipeline.training.model.flops import FlopCounter, measure_peak
from grao_pipeline.training.model.loading import load_policy
from grao_pipeline.training.objectives.base import Objective
from grao_pipeline.training.objectives.make import make_objective, objective_of_options
from grao_pipeline.training.off_policy_metrics import origin_reports
from grao_pipeline.training.optimizer import make_optimizer
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.trainer import Trainer, TrainerState, check_attention, make_plan


@dataclass
class TrainSummary:
    """What a training did, resumed parts included; times, speeds and shares are of this run.

    Attributes:
        groups_trained: groups that a step was made of; with --max-steps these may be fewer than can be trained on.
        optimizer_steps: updates by the optimizer, those of the trainings that it was carried from included.
        skipped_steps: steps without an update, because the loss or the gradient was not finite.
        padding_share: share of padding in the tokens that the model processed.
        flops_utilization: relative to a plain matrix product on this device (see `model.flops.FlopCounter`); None
            where the model's operations cannot be counted.
        chosen: what `auto` meant and why, by option.
        device, attention: what `auto` became.
        origins: staleness of every origin, and how far off-policy its samples were in the first epoch (see
            `origin_reports`).
    """

    groups: int = 0
    groups_trained: int = 0
    groups_too_old: int = 0
    steps: int = 0
    optimizer_steps: int = 0
    skipped_steps: int = 0
    resumed_from_step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    padding_share: float = 0.0
    flops_utilization: float | None = 0.0
    ranks: int = 1
    device: str = ""
    attention: str = ""
    final_objective: float | None = None
    chosen: dict[str, str] = field(default_factory=dict)
    origins: list[dict[str, Any]] = field(default_factory=list)
    fingerprint: str = ""
    model: str = ""
    was_complete: bool = False
    notes: list[str] = field(default_factory=list)


def train_model(
    groups_url: str,
    advantages_url: str,
    out: str,
    options: TrainOptions,
    progress: Progress = SILENT,
) -> TrainSummary:
    """Train a model on groups and write it as a Hugging Face model directory, over all ranks.

    Example:
        options = TrainOptions(model="models/base", learning_rate=1e-5)
        train_model("runs/groups", "runs/advantages", "runs/model", options)

    The groups of `options.replay` are trained on as if they followed in the main tables.

    Raises:
        UsageError: an option does not work for this model or on this device.
        InputError: an input is not usable, it holds nothing to train on, or the model could not be saved.
        MismatchError: groups, advantages and model do not belong together, or `out` holds something else.
        StageFailure: the loss stayed non-finite, memory or disk ran out, or another process trains into `out`.
        Interrupted: SIGTERM or SIGINT; the finished steps are saved.
    """
    if options.dry_run:
        raise UsageError("a training writes a model; see estimate_training.", option="dry_run")
    check_trackers(options.log_to, "log_to")
    objective_of_options(options)  # refused before a model is looked for
    if is_url(out):
        if options.nodes > 1:
            raise UsageError(f"OUT {out}: several machines train into a directory that they share.", option="nodes")
        copied = partial(train_model, groups_url, advantages_url, options=options, progress=progress)
        return made_in_copy(out, copied, progress, uploads=asked_for()[0] == 0)
    count = ranks_to_start(options)
    if count:
        if read_model_manifest(Path(out)) is not None:  # no rank is needed to find a finished model
            source = locate_model(options.model, options.adapter)
            inputs = open_inputs(groups_url, advantages_url, options, source)
            finished = _finished(out, inputs, progress)
            if finished is not None:
                return finished
        of_rank = train_in_processes([groups_url, advantages_url, out], options, count, progress)
        manifest = read_model_manifest(Path(out)) if of_rank is None else None
        return TrainSummary(**(of_rank or (manifest.summary if manifest else {})))
    with joined(resolve_device(options.device), options) as ranks:
        on_first = progress if ranks.is_first else SILENT
        device = DeviceReport.of(ranks.device)
        given, (options, chosen) = options, settled(options, device)
        choose_attention(options.attention, ranks.device, options.dtype)  # refused before anything is read
        source = ranks.from_first(
            lambda: locate_model(options.model, options.adapter)
        )  # It hashes the weights: once is enough.

        def open_all() -> TrainingInputs:
            return open_inputs(groups_url, advantages_url, given, source)

        # Every rank reads the tables, after rank 0 has reported what is wrong with them.
        inputs = ranks.on_first(open_all) or open_all()
        finished = ranks.from_first(lambda: _finished(out, inputs, progress))
        if finished is not None:
            return finished

        def prepare() -> _Prepared:
            store = CheckpointStore(Path(out), inputs.provenance, options.keep_checkpoints)
            with on_first.track("reading groups and advantages"):
                return _Prepared(inputs, store, load_data(inputs, options), device, chosen)

        return _train(ranks.on_first(prepare) or prepare(), Path(out), options, ranks, on_first)


def _finished(out: str, inputs: TrainingInputs, progress: Progress) -> TrainSummary | None:
    """The summary of the model in OUT where this training is finished."""
    summary = finished_summary(Path(out), inputs.provenance)
    if summary is None:
        return None
    progress.note(f"{out} already holds the model of this training; nothing to do.")
    return TrainSummary(**summary)


@dataclass(frozen=True)
class _Prepared:
    """The checked inputs of a training."""

    inputs: TrainingInputs
    store: CheckpointStore
    data: TrainingSet
    device: DeviceReport
    chosen: dict[str, str]
    """What `auto` meant and why, by option."""


def _train(prepared: _Prepared, out: Path, options: TrainOptions, ranks: Ranks, progress: Progress) -> TrainSummary:
    inputs, store, data = prepared.inputs, prepared.store, prepared.data
    if data.num_too_old:
        age = f"more than {options.max_rounds_behind} rounds older than the newest group"
        progress.note(f"{data.num_too_old} of {data.num_groups} groups are left out: they are {age}.")
    objective, correction = make_objective(options, data)
    torch.manual_seed(options.seed)
    with progress.track(f"loading {options.model}"):
        policy, flops = load_policy(inputs.source, options, ranks)
    if not flops.counts_attention:
        progress.note("FLOP utilization is not reported: the width of this model's attention is not one number.")
    optimizer = make_optimizer(policy.parameters(), options, ranks)
    carried = carried_optimizer(inputs.source, options)
    if carried is not None:
        with progress.track(f"loading {carried.directory}"):
            load_optimizer(carried.directory, policy, optimizer, ranks)
    gradient = GradientAccumulator(policy, objective, correction, options, ranks)
    learner = Learner(policy, optimizer, gradient, options.max_grad_norm)
    try:
        ranks.on_first(store.claim)
        peak = sum(ranks.gather(measure_peak(ranks.device, getattr(torch, options.dtype))))
        earlier_steps = carried.steps if carried else 0
        trainer = Trainer(options, data, learner, store, ranks, progress, earlier_steps)
        check_attention(policy, data, options, ranks, progress)
        if options.compile:
            policy.compile_layers_and_loss()
        plan = make_plan(data, options)
        num_steps, first_step = len(plan), [data[index] for index in plan[0][1]]
        chosen = prepared.chosen | choose_recomputation(policy, first_step, gradient, options, ranks, prepared.device)
        provenance = replace(inputs.provenance, details={**inputs.provenance.details, "chosen": chosen})
        inputs = replace(inputs, provenance=provenance)
        ranks.on_first(lambda: prepare_export(policy, inputs, options, num_steps, out))
        with followed(str(out), options.log_to if ranks.is_first else [], progress):
            state = trainer.run()
        summary = _summarize(state, data, ranks, flops, peak)
        summary.groups_trained = len(trainer.trained)
        summary.optimizer_steps = earlier_steps + summary.steps - summary.skipped_steps
        summary.chosen = chosen
        summary.notes = list(_notes(summary, data, trainer.trained, options, objective))
        summary.fingerprint = inputs.provenance.fingerprint
        summary.device, summary.attention = ranks.device.type, policy.attention
        with progress.track(f"writing {out}"):
            summary.model = export(policy, optimizer, inputs, options, ranks, out, asdict(summary), trainer.saved)
        ranks.on_first(lambda: remove_checkpoints(out))
    finally:
        store.release()
    return summary


def _summarize(state: TrainerState, data: TrainingSet, ranks: Ranks, flops: FlopCounter, peak: float) -> TrainSummary:
    """The summary of a training.

    Args:
        peak: floating-point operations per second of matrix products on all ranks, measured at the start.
    """
    cost, seconds = state.cost, max(state.seconds, 1e-9)
    return TrainSummary(
        groups=data.num_groups,
        groups_too_old=data.num_too_old,
        steps=state.steps,
        skipped_steps=state.skipped,
        resumed_from_step=state.resumed_from,
        tokens=state.tokens,
        seconds=state.seconds,
        tokens_per_second=cost.tokens / seconds,
        padding_share=cost.padding / max(cost.processed, 1),
        flops_utilization=flops.flops(cost) / seconds / peak if flops.counts_attention else None,
        ranks=ranks.size,
        final_objective=state.final_objective,
        origins=origin_reports(data.origins, state.origins),
    )


def _notes(
    summary: TrainSummary, data: TrainingSet, trained: Collection[int], options: TrainOptions, objective: Objective
) -> Iterator[str]:
    """What the numbers of a training say.

    Args:
        trained: indices of the groups that were trained on.
    """
    yield from notes.few_steps(summary.steps, len(trained), options)
    yield from notes.learning_rate(options.learning_rate, is_lora=options.lora_rank > 0)
    yield from notes.skipped_steps(summary.skipped_steps, summary.steps)
    if objective.traits.uses_beta_and_lambda and (options.beta or options.lambda_):
        num_references = len(set(trained).intersection(data.which("has_reference")))
        yield from notes.no_imitation(num_references, len(trained))
