"""`grao compare`: what another reward would change in a training, before any step is made."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from grao_pipeline import notes
from grao_pipeline.advantages.compute import Batch, open_computation
from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.contract import Row
from grao_pipeline.evaluation.intervals import bootstrap_mean
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.reward_checks.options import CompareOptions
from grao_pipeline.reward_checks.rank_correlation import kappa, within_groups
from grao_pipeline.reward_checks.weights import with_weights
from grao_pipeline.storage.reader import TableReader, open_table

RESAMPLES = 2000


@dataclass(frozen=True)
class DifferingGroup:
    """A group that the two rewards would train differently."""

    group_id: str
    moved: float
    """Σ |w_A − w_B| over its sequences."""
    prompt: str
    best_a: str
    """The sample with the highest weight under A; best_b: under B."""
    best_b: str
    weights_a: list[float]
    weights_b: list[float]
    """Of its samples, in order."""
    reference_weight_a: float | None
    reference_weight_b: float | None


@dataclass(frozen=True)
class Comparison:
    """How the training weights under reward B differ from those under reward A."""

    groups: int
    samples: int
    sign_flips: int
    """Samples that one reward pushes up and the other down."""
    to_or_from_zero: int
    """Samples that only one of the rewards trains on."""
    weight_moved: float | None
    """Σ |w_A − w_B| / Σ (|w_A| + |w_B|) over samples and references: 0 the same, 1 nothing in common."""
    rank_correlation: dict[str, Any] | None
    """Mean over the groups of Spearman's ρ of the rewards: value, low, high, n."""
    constant_groups: int
    """Groups in which one of the rewards is constant, so that there is no ρ."""
    kappa: float | None
    """Cohen's κ of the signs of Â: −, 0 or +."""
    other_best: int
    """Groups whose highest weight is that of another sample."""
    differ_most: list[DifferingGroup] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def for_people(self) -> dict[str, object]:
        """Counts with their shares, and the groups that differ most, shortened."""
        rho = self.rank_correlation
        return {
            "groups": self.groups,
            "samples": self.samples,
            "sign_flips": _share(self.sign_flips, self.samples),
            "to_or_from_zero": _share(self.to_or_from_zero, self.samples),
            "weight_moved": self.weight_moved,
            "rank_correlation": rho and f"{rho['value']:.3f} [{rho['low']:.3f}, {rho['high']:.3f}], n = {rho['n']}",
            "constant_groups": self.constant_groups,
            "kappa": self.kappa,
            "other_best": _share(self.other_best, self.groups),
            **{
                f"differs most, {place}": f"{group.moved:.3f} moved: {_short(group.prompt)}\n"
                f"      A prefers  {_preferred(group.best_a, group.weights_a)}\n"
                f"      B prefers  {_preferred(group.best_b, group.weights_b)}"
                for place, group in enumerate(self.differ_most, start=1)
            },
            "notes": self.notes,
        }


def compare_scores(
    groups_url: str, scores_a: str, scores_b: str, options: CompareOptions, progress: Progress = SILENT
) -> Comparison:
    """Compare two scores tables of the same groups by the training weights that they lead to.

    Example:
        compare_scores("runs/groups", "runs/gsm8k", "runs/judge", CompareOptions()).sign_flips

    Raises:
        MismatchError: one of the tables was scored on other groups.
        UsageError: unknown estimator, or an argument that it does not have.
    """
    groups = open_table(groups_url, "groups")
    tally = _Tally(options)
    with progress.track("comparing rewards", groups.num_parts, "parts") as bar:
        for one, other in zip(
            _batches(groups_url, scores_a, options), _batches(groups_url, scores_b, options), strict=True
        ):
            tally.add(one, other)
            bar.advance(len(one.parts), groups=tally.groups)
    return tally.comparison(groups)


def _batches(groups_url: str, scores: str, options: CompareOptions) -> Iterator[Batch]:
    shared = {name: getattr(options, name) for name in ("estimator", "estimator_arg", "statistics", "reference_floor")}
    chosen = AdvantagesOptions(scores=[WeightedScores(url=scores)], **shared)
    return open_computation(groups_url, chosen).batches()


class _Tally:
    """Adds up batches; of every group a few numbers stay in memory."""

    def __init__(self, options: CompareOptions) -> None:
        self._options = options
        self.groups = 0
        self._counts = np.zeros((3, 3), dtype=np.int64)
        self._sums = np.zeros(2)
        self._other_best = 0
        self._varied = {"reward": 0, "reward_b": 0}
        self._correlations: list[float] = []
        self._candidates: list[tuple[float, int, int, dict[str, Any]]] = []

    def add(self, one: Batch, other: Batch) -> None:
        options = self._options
        columns = ["row", "sample_index", "reward", "advantage", "weight"]
        a, b = (with_weights(batch.rows, options.beta, options.lambda_).select(columns) for batch in (one, other))
        rows = a.with_columns(*(b[name].alias(f"{name}_b") for name in columns[2:]))
        samples = rows.filter(pl.col("sample_index") >= 0)
        ranges = samples.group_by("row").agg(pl.col(*self._varied).max() - pl.col(*self._varied).min())
        for name in self._varied:
            self._varied[name] += int((ranges[name] > 0).sum())
        signs = (samples.select(pl.col("advantage", "advantage_b").fill_null(0.0).sign().cast(pl.Int8)) + 1).to_numpy()
        np.add.at(self._counts, (signs[:, 0], signs[:, 1]), 1)
        moved = (pl.col("weight") - pl.col("weight_b")).abs()
        magnitude = pl.col("weight").abs() + pl.col("weight_b").abs()
        self._sums += np.array(rows.select(moved.sum().alias("moved"), magnitude.sum().alias("of")).row(0))
        self._correlations += within_groups(samples, "reward", "reward_b")["correlation"].to_list()
        by_group = rows.group_by("row", maintain_order=True).agg(
            moved.sum().alias("moved"),
            pl.col("weight", "weight_b").filter(pl.col("sample_index") >= 0),
            pl.col("weight", "weight_b").filter(pl.col("sample_index") < 0).first().name.prefix("reference_"),
        )
        best = by_group.select(
            pl.col("weight", "weight_b").list.arg_max(), pl.col("weight", "weight_b").list.max().name.prefix("top_")
        )
        differs = (best["weight"] != best["weight_b"]) & ((best["top_weight"] > 0) | (best["top_weight_b"] > 0))
        self._other_best += int(differs.sum())
        for group in by_group.top_k(self._options.top, by="moved").to_dicts() if self._options.top else []:
            self._candidates.append((group["moved"], one.parts.start, group["row"], group))
        self._candidates = sorted(self._candidates, key=lambda c: c[:1], reverse=True)[: self._options.top]
        self.groups += len(one.group_ids)

    def comparison(self, groups: TableReader) -> Comparison:
        moved, magnitude = map(float, self._sums)
        mean = bootstrap_mean(self._correlations, self._options.confidence, RESAMPLES, 0)
        flips = int(self._counts[0, 2] + self._counts[2, 0])
        agree = int(np.trace(self._counts))
        samples = int(self._counts.sum())
        return Comparison(
            groups=self.groups,
            samples=samples,
            sign_flips=flips,
            to_or_from_zero=samples - agree - flips,
            weight_moved=moved / magnitude if magnitude else None,
            rank_correlation=asdict(mean) if mean else None,
            constant_groups=self.groups - len(self._correlations),
            kappa=kappa(self._counts),
            other_best=self._other_best,
            differ_most=[_described(groups, *candidate[1:]) for candidate in self._candidates if candidate[0] > 0],
            notes=[
                note
                for name, varied in zip(("Reward A", "Reward B"), self._varied.values(), strict=True)
                if not varied
                for note in notes.constant_rewards(name, self.groups)
            ],
        )


def _described(groups: TableReader, first_part: int, row: int, group: Row) -> DifferingGroup:
    """A group with its texts, which are read only now."""
    part = first_part
    while row >= groups.manifest.parts[part].rows:
        row -= groups.manifest.parts[part].rows
        part += 1
    [texts] = groups.part(part, ["group_id", "messages", "completions"]).slice(row, 1).to_pylist()
    one, other = group["weight"], group["weight_b"]
    return DifferingGroup(
        group_id=texts["group_id"],
        moved=group["moved"],
        prompt=texts["messages"][-1]["content"],
        best_a=texts["completions"][int(np.argmax(one))],
        best_b=texts["completions"][int(np.argmax(other))],
        weights_a=one,
        weights_b=other,
        reference_weight_a=group["reference_weight"],
        reference_weight_b=group["reference_weight_b"],
    )


def _share(count: int, total: int) -> str:
    return f"{count:,} ({count / max(total, 1):.1%})"


def _preferred(text: str, weights: list[float]) -> str:
    return _short(text) if max(weights) > min(weights) else "none of the samples"


def _short(text: str, length: int = 90) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
