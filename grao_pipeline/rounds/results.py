"""What came of the rounds: metrics of every model, of all variants in one table; how stale a training's groups were."""

from dataclasses import dataclass
from typing import Any

from grao_pipeline.evaluation.record import read_evaluation
from grao_pipeline.rounds.receipts import Receipts
from grao_pipeline.rounds.tasks import Walk


@dataclass(frozen=True)
class ModelRow:
    """One line of the run's table: the base model, or the model of a round.

    Attributes:
        variant: whose model it is; empty without a sweep, and for what all variants share.
        metrics: value, low, high and n of each metric, by name.
        seconds: what each stage that led to it took, by stage; None for a stage without a receipt.
    """

    variant: str
    name: str
    metrics: dict[str, dict[str, Any] | None]
    seconds: dict[str, float | None]


@dataclass(frozen=True)
class OriginRow:
    """How stale and how far off-policy the groups of one round were in one training (see docs/training.md)."""

    training: str
    report: dict[str, Any]


def table(walked: Walk, receipts: Receipts) -> list[ModelRow]:
    """One row per evaluated model, `base` first."""
    outs = [task.out for task in walked.evaluations.values()]
    models: dict[str, list[str]] = {}
    for name in walked.evaluations:
        models.setdefault(name.rpartition("/")[2], []).append(name)
    rows, shared = [], set()
    for name, task in walked.evaluations.items():
        evaluation = read_evaluation(str(task.out)) if task.done else None
        if evaluation is None or task.out in shared:
            continue
        variant, _, model = name.rpartition("/")
        if outs.count(task.out) == len(models[model]):  # of one variant, or of all
            shared.add(task.out)
            variant = "" if len(models[model]) > 1 else variant
        seconds: dict[str, float | None] = {}
        for other, other_task in walked.named.items():
            if other.startswith(f"{name}/"):
                receipt = receipts.of(other_task)
                seconds[other.removeprefix(f"{name}/")] = receipt.seconds if receipt else None
        rows.append(ModelRow(variant, model, evaluation.metrics, seconds))
    return rows


def origins(walked: Walk, receipts: Receipts) -> list[OriginRow]:
    """Of every finished training what its receipt says of the groups it was trained on."""
    rows = []
    for task in walked.tasks:
        receipt = receipts.of(task) if task.stage.output == "model" and task.done else None
        rows += [OriginRow(task.name, report) for report in receipt.summary.get("origins", [])] if receipt else []
    return rows
