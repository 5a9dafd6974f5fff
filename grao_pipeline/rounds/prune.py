"""Delete weights and optimizer states that neither a later round nor the best model needs. All else stays."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from grao_pipeline.evaluation.record import read_evaluation
from grao_pipeline.models.manifest import ModelManifest, read_trained_manifest
from grao_pipeline.models.pruned import WEIGHTS, prune_files
from grao_pipeline.rounds.config.keep import Keep
from grao_pipeline.rounds.config.run_plan import RunPlan
from grao_pipeline.rounds.tasks import Task, Walk
from grao_pipeline.training.carried import OPTIMIZER


@dataclass
class PruneSummary:
    """What was deleted.

    Attributes:
        pruned: names of the trainings that lost files.
        kept: those that have their weights.
        bytes: that were freed, or would be.
    """

    pruned: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    bytes: int = 0


def prune(plan: RunPlan, walked: Walk, keep: Keep, dry_run: bool = False) -> PruneSummary:
    """Delete what is not kept of the models of all variants.

    A model is needed by every task that is not done and reads it, and as the last one (with `overlap` the last two) of
    its variant; so the next round, a longer run and an interrupted one find what they start from.

    Args:
        walked: all tasks that are known; those that are not done say what they read.
    """
    reads = {place for task in walked.tasks if not task.done for place in task.reads}
    models: dict[str, tuple[str, Path]] = {}
    needed_whole, needed_weights = set(reads), set(reads)
    for variant in plan.variants:
        rounds = list(_trained(walked, f"{variant.name}/" if variant.name else ""))
        models |= {str(task.out): (name, Path(str(task.out))) for tasks in rounds for name, task in tasks.items()}
        needed_whole |= {str(task.out) for tasks in rounds[-1 - plan.overlap :] for task in tasks.values()}
        if keep.models == "best+last":
            needed_weights |= {str(task.out) for task in _best(walked, rounds, keep.metric)}
    summary = PruneSummary()
    for place, (name, out) in models.items():
        manifest = read_trained_manifest(out) if keep.models != "all" and place not in needed_whole else None
        names = _deletable(manifest, place not in needed_weights) if manifest is not None else []
        there = [file for file in names if (out / file).is_file()]
        (summary.pruned if there else summary.kept if not names else []).append(name)
        if there:
            summary.bytes += sum((out / file).stat().st_size for file in there)
            if not dry_run:
                prune_files(out, names)
    return summary


def _trained(walked: Walk, prefix: str) -> Iterator[dict[str, Task]]:
    """Of every finished round of a variant, its models by name: the trained one, then what it was merged to."""
    number = 0
    while True:
        start = f"{prefix}round-{number}/"
        tasks = {n: t for n, t in walked.named.items() if n.startswith(start) and t.stage.output == "model"}
        if not tasks or not all(task.done for task in tasks.values()):
            return
        yield {f"{start}{task.stage.name}": task for task in tasks.values()}
        number += 1


def _best(walked: Walk, rounds: list[dict[str, Task]], metric: str) -> list[Task]:
    """The first round's model of the highest value of a metric; none where no model was evaluated."""
    values: list[tuple[float, Task]] = []
    for tasks in rounds:
        name, evaluated = list(tasks.items())[-1]
        evaluation = walked.evaluations.get(name.rpartition("/")[0])
        record = read_evaluation(str(evaluation.out)) if evaluation is not None and evaluation.done else None
        value = record.metrics.get(metric) if record is not None else None
        if value is not None:
            values.append((float(value["value"]), evaluated))
    return [max(values, key=lambda pair: pair[0])[1]] if values else []


def _deletable(manifest: ModelManifest, with_weights: bool) -> list[str]:
    """Files of a model: its optimizer's state, and its weights."""
    return [
        name
        for name in manifest.files
        if name.startswith(f"{OPTIMIZER}/") or (with_weights and "/" not in name and name.endswith(WEIGHTS))
    ]
