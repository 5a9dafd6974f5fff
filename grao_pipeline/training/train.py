"""`grao train`: groups + advantages → model."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from grao_pipeline.config import TrainOptions
from grao_pipeline.devices import resolve_device
from grao_pipeline.errors import InputError, MismatchError, StageFailure, UsageError
from grao_pipeline.models import ModelSource, load_config, load_tokenizer, load_weights, locate_model
from grao_pipeline.plugins import load
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.training.attention.base import choose_attention
from grao_pipeline.training.checkpoints import CheckpointStore, remove_checkpoints
from grao_pipeline.training.data import TrainingGroup, TrainingSet, micro_batches, step_plan
from grao_pipeline.training.metrics import StepMetrics
from grao_pipeline.training.objectives import OBJECTIVES
from grao_pipeline.training.objectives.base import Objective
from grao_pipeline.training.output import MetricsLog, read_model_manifest, remove_temporaries, write_model
from grao_pipeline.training.packing import packed_tokens
from grao_pipeline.training.policy import Policy
from grao_pipeline.training.provenance import train_provenance
from grao_pipeline.training.schedule import learning_rate
from grao_pipeline.training.self_check import check_policy
from grao_pipeline.training.step import run_micro_batch

Notice = Callable[[str], None]


@dataclass
class TrainSummary:
    """What a training did, resumed parts included; `seconds` and speed are of this run."""

    groups: int = 0
    groups_trained: int = 0
    steps: int = 0
    resumed_from_step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    final_objective: float | None = None
    fingerprint: str = ""
    model: str = ""
    was_complete: bool = False


def train_model(
    groups_url: str, advantages_url: str, out: str, options: TrainOptions, notice: Notice = lambda _: None
) -> TrainSummary:
    """Train a model on groups and write it as a Hugging Face model directory.

    Raises:
        InputError: an input is not usable, or nothing in it is to be trained on.
        MismatchError: groups, advantages and model do not belong together, or `out` holds other work.
        StageFailure: the loss became non-finite, or memory ran out.
    """
    if "://" in out:
        raise UsageError(f"OUT {out}: a model is written to a local directory; copy it from there.")
    groups, advantages = open_table(groups_url, "groups"), open_table(advantages_url, "advantages")
    source = locate_model(options.model)
    provenance = train_provenance(options, groups.fingerprint, advantages.fingerprint, source)
    directory = Path(out)
    finished = read_model_manifest(directory)
    if finished is not None:
        if finished.provenance.fingerprint != provenance.fingerprint:
            raise MismatchError(
                f"{out} holds the model of training {finished.provenance.fingerprint}; this command is "
                f"{provenance.fingerprint}. Choose another output directory, or delete this one."
            )
        remove_temporaries(directory)
        remove_checkpoints(directory)
        notice(f"{out} holds the model of this very training; nothing to do.")
        return TrainSummary(**{**finished.summary, "was_complete": True, "model": finished.model})
    checkpoints = CheckpointStore(directory, provenance.fingerprint)
    data = TrainingSet(groups, advantages)
    _check_data(data, groups, source, options)
    trainer = _Trainer(options, source, data, checkpoints, directory, notice)
    summary = trainer.run()
    summary.fingerprint = provenance.fingerprint
    _export(trainer.model, groups, source, options, directory, provenance, summary)
    remove_checkpoints(directory)
    return summary


class _Trainer:
    """Model, optimizer and position of one training run."""

    def __init__(
        self,
        options: TrainOptions,
        source: ModelSource,
        data: TrainingSet,
        checkpoints: CheckpointStore,
        directory: Path,
        notice: Notice,
    ) -> None:
        self._options = options
        self._data = data
        self._notice = notice
        self._device = torch.device(resolve_device(options.device))
        self._objective: Objective = load("objective", options.objective, OBJECTIVES)(
            beta=options.beta, lambda_=options.lambda_
        )
        torch.manual_seed(options.seed)
        self.model = load_weights(source.directory, "AutoModelForCausalLM", "float32").to(self._device)
        if options.gradient_checkpointing:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.model.train()
        self._policy = Policy(self.model, choose_attention(options.attention, self._device, options.dtype))
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=options.learning_rate,
            betas=(options.adam_beta1, options.adam_beta2),
            weight_decay=options.weight_decay,
            fused=True,
        )
        self._summary = TrainSummary(data.num_groups, len(data))
        self._checkpoints = checkpoints
        checkpoints.claim()
        latest = checkpoints.latest
        if latest is not None:
            checkpoints.load(latest, self.model, self._optimizer)
            self._summary.resumed_from_step = latest.step
            notice(f"resuming after step {latest.step} from {latest.path}")
        self._log = MetricsLog(directory, self._summary.resumed_from_step)

    def run(self) -> TrainSummary:
        """Do the steps that are left."""
        options, summary = self._options, self._summary
        plan = list(step_plan(len(self._data), options.groups_per_step, options.epochs, options.seed))
        plan = list(islice(plan, options.max_steps))
        if plan:
            self._check([self._data[index] for index in plan[0][1][:2]])
        started = time.perf_counter()
        tokens_before = summary.tokens = sum(record["tokens"] for record in self._log.kept)
        for done, (epoch, indices) in enumerate(plan[summary.resumed_from_step :], summary.resumed_from_step + 1):
            groups = [self._data[index] for index in indices]
            record = self._step(groups, done, len(plan), epoch)
            self._log.append(record)
            self._notice(_line(record, len(plan)))
            summary.tokens += record["tokens"]
            summary.final_objective = record["J"]
            if options.checkpoint_steps and done % options.checkpoint_steps == 0 and done < len(plan):
                self._checkpoints.save(done, self.model, self._optimizer)
        summary.steps = len(plan)
        summary.seconds = time.perf_counter() - started
        summary.tokens_per_second = (summary.tokens - tokens_before) / max(summary.seconds, 1e-9)
        return summary

    def _check(self, groups: list[TrainingGroup]) -> None:
        sequences = [sequence for group in groups for sequence in group.sequences[:2]]
        check_policy(self._policy, sequences, self._notice, forced=self._options.attention != "auto")
        self._notice(f"attention: {self._policy.attention}, checked against {type(self.model).__name__}'s own")

    def _step(self, groups: list[TrainingGroup], step: int, total: int, epoch: int) -> dict[str, Any]:
        """One optimizer step: loss = −mean of J over all groups of the step, however it is cut."""
        options = self._options
        started = time.perf_counter()
        rate = learning_rate(step - 1, total, options.learning_rate, options.warmup_steps, options.schedule)
        for parameters in self._optimizer.param_groups:
            parameters["lr"] = rate
        metrics = StepMetrics(len(groups))
        tokens = sum(self._backward(batch, len(groups), metrics) for batch in self._cut(groups))
        limit = options.max_grad_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        report = metrics.report()
        if not math.isfinite(norm) or not math.isfinite(report["J"]):
            names = ", ".join(group.group_id for group in groups[:4])
            raise StageFailure(
                f"Step {step}: the objective is {report['J']} and the gradient's norm {norm}; stopped before the "
                f"weights were touched. Groups: {names}, … Lower --learning-rate or use --dtype float32, "
                "with another OUT."
            )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - started
        return {
            "step": step,
            "epoch": epoch,
            "learning_rate": rate,
            **report,
            "grad_norm": norm,
            "groups": len(groups),
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_second": tokens / max(seconds, 1e-9),
        }

    def _cut(self, groups: list[TrainingGroup]) -> list[Any]:
        whole = bool(getattr(self._objective, "couples_group", False))
        return list(micro_batches(groups, self._options.tokens_per_batch, whole))

    def _backward(self, sequences: list[Any], num_groups: int, metrics: StepMetrics) -> int:
        """Add a micro-batch's share of the step's gradient; its number of tokens."""
        bf16 = self._options.dtype == "bfloat16"
        try:
            with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=bf16):
                made = run_micro_batch(self._policy, self._objective, sequences, self._device)
            (made.gradient / num_groups).backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError as error:
            raise StageFailure(
                f"Out of memory on a micro-batch of {len(sequences)} sequences ({packed_tokens(sequences):,} tokens); "
                f"lower --tokens-per-batch ({self._options.tokens_per_batch}) or use --gradient-checkpointing."
            ) from error
        metrics.add(sequences, made.inputs, made.outputs)
        return made.batch.num_unshared_tokens


def _check_data(data: TrainingSet, groups: TableReader, source: ModelSource, options: TrainOptions) -> None:
    if data.num_groups and not data.has_tokens:
        raise InputError(
            f"{groups.url} has texts but no token ids, so it cannot be trained on. "
            "Import it again with --tokenizer MODEL."
        )
    if not len(data):
        raise InputError(
            f"Nothing to train on: no group of {groups.url} has an advantage (all of zero variance, or unscored)."
        )
    others = sorted(data.policies - {source.fingerprint})
    if others and not options.allow_off_policy:
        raise MismatchError(
            f"{groups.url} was sampled by policy {others[0]}, but --model {options.model} is {source.fingerprint}. "
            "Train the model that sampled, or pass --allow-off-policy."
        )
    config = load_config(source).get_text_config()
    data.check_fits(int(config.vocab_size), getattr(config, "max_position_embeddings", None))


def _export(
    model: Any,
    groups: TableReader,
    source: ModelSource,
    options: TrainOptions,
    directory: Path,
    provenance: Provenance,
    summary: TrainSummary,
) -> None:
    """Save the model with the tokenizer and the chat template that the groups were sampled with."""
    tokenizer = load_tokenizer(source)
    tokenizer.chat_template = groups.provenance.details.get("chat_template") or tokenizer.chat_template
    saved = load_config(source).dtype if options.save_dtype == "auto" else getattr(torch, options.save_dtype)
    model.to(saved or torch.float32)
    summary.model = write_model(directory, model, tokenizer, provenance, asdict(summary)).model


def _line(record: dict[str, Any], total: int) -> str:
    def show(name: str, digits: int = 4) -> str:
        return "–" if record.get(name) is None else f"{record[name]:.{digits}f}"

    shares = "/".join(show(f"{name}_share", 2) for name in ("exploration", "imitation", "regulariser"))
    return (
        f"step {record['step']}/{total} · J {show('J')} (exploration/imitation/regulariser {shares}) · "
        f"ℓ(o) {show('mean_logprob_samples', 3)} ℓ(y) {show('mean_logprob_references', 3)} · "
        f"reward {show('reward', 3)} · grad {show('grad_norm', 3)} · {record['tokens_per_second']:,.0f} tokens/s"
    )
