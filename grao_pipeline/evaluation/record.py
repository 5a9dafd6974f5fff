"""The record of an evaluation: `metrics.json`, its only file."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from grao_pipeline.errors import DamagedPart, MismatchError
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import read_record
from grao_pipeline.storage.manifest import Provenance

METRICS = "metrics.json"
NOTHING = "–  (no prompt has what it is computed from)"
Metrics: TypeAlias = dict[str, dict[str, Any] | None]
"""By name: value, low, high and n (see `Estimate`); None where a metric cannot be computed."""
Breakdown: TypeAlias = dict[str, dict[str, Metrics]]
"""Field → value → metrics; the values in the order of the alphabet."""


@dataclass(frozen=True)
class EvaluateSummary:
    """The metrics of a model."""

    metrics: Metrics
    """Per metric its value, low, high and n (see `Estimate`); None where it cannot be computed."""
    prompts: int
    unpaired_prompts: int
    """Prompts that only one of the two models has samples of."""
    confidence: float
    fingerprint: str
    prompts_not_applicable: int = 0
    """Left out: prompts of other tasks, which the reward is not meant for."""
    notes: list[str] = field(default_factory=list)
    by: Breakdown = field(default_factory=dict)
    """Field of the metadata → its value → the metrics of the prompts with this value."""

    def for_people(self) -> dict[str, object]:
        """The metrics as text, with their intervals."""
        metrics = {
            name: f"{metric['value']:.3f}  ({self.confidence:.0%} interval {metric['low']:.3f} … {metric['high']:.3f}, "
            f"n = {metric['n']})"
            if metric is not None
            else NOTHING
            for name, metric in self.metrics.items()
        }
        counts = {"prompts": self.prompts, "unpaired_prompts": self.unpaired_prompts}
        if self.prompts_not_applicable:
            counts["prompts_not_applicable"] = self.prompts_not_applicable
        tables = {f"by {name}": [_row(value, of) for value, of in values.items()] for name, values in self.by.items()}
        return {**metrics, **tables, **counts, "fingerprint": self.fingerprint, "notes": self.notes}


SHOWN_BY = ("mean_reward", "ras", "nag_win_rate", "nag_net")
"""Metrics that people are shown of every part of the prompts, next to pass@K."""


def _row(value: str, metrics: Metrics) -> dict[str, object]:
    count = metrics["mean_reward"]
    shown = {name: metric for name, metric in metrics.items() if name in SHOWN_BY or name.startswith("pass@")}
    cells = {
        name: metric and f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"
        for name, metric in shown.items()
    }
    return {"value": value, "n": count["n"] if count else 0, **cells}


def evaluate_provenance(
    options: EvaluateOptions, groups: str, scores: str, base_groups: str | None, base_scores: str | None
) -> Provenance:
    """The identity of an evaluation.

    Args:
        groups, scores, base_groups, base_scores: the fingerprints of the tables.
    """
    inputs = {"groups": groups, "scores": scores, "base_groups": base_groups, "base_scores": base_scores}
    shaping = options.content()
    return Provenance("evaluation", stage_fingerprint("evaluate", shaping, inputs), shaping, inputs)


def read_evaluation(out: str) -> EvaluateSummary | None:
    """The evaluation in `out`; None while there is no evaluation.

    Raises:
        DamagedPart: the evaluation is damaged.
    """
    try:
        value = read_record(Directory(out), METRICS)
        return None if value is None else EvaluateSummary(**value["summary"])
    except (DamagedPart, KeyError, TypeError) as error:
        raise DamagedPart(f"{error} Evaluate again: it replaces the file.") from error


def read_evaluation_provenance(directory: Directory) -> Provenance | None:
    """What the evaluation in a directory was made from; None without one.

    Raises:
        DamagedPart: the evaluation is damaged.
        MismatchError: its file is the record of another output.
    """
    value = read_record(directory, METRICS)
    if value is None:
        return None
    where = directory.path(METRICS)
    provenance = Provenance.from_dict(value, where)
    if provenance.table != "evaluation":
        raise MismatchError(f"{where} is a record of kind '{provenance.table}', not of an evaluation. Evaluate again.")
    return provenance
