"""`grao advantages --dry-run`: what would be written, without writing."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from grao_pipeline.advantages.compute import AdvantagesSummary, add_to_summary, open_work
from grao_pipeline.advantages.options import AdvantagesOptions

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
BINS = 10


@dataclass
class AdvantagesPreview(AdvantagesSummary):
    """The summary of the table that would be written, and how its advantages are distributed."""

    sample_advantages: dict[str, float] = field(default_factory=dict)
    """Mean, standard deviation and quantiles of the samples that are trained on."""
    reference_advantages: dict[str, float] = field(default_factory=dict)
    histogram: dict[str, int] = field(default_factory=dict)
    """How many samples have an advantage from … to …, in bins of equal width; the last includes its upper end."""


def preview_advantages(groups_url: str, options: AdvantagesOptions) -> AdvantagesPreview:
    """Compute everything and write nothing. The advantages are held in memory, four bytes each.

    Raises:
        UsageError, MismatchError: as `compute_advantages`.
    """
    work = open_work(groups_url, options)
    preview = AdvantagesPreview(fingerprint=work.provenance.fingerprint)
    kept: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for _, rows, group_ids in work.rows():
        add_to_summary(preview, rows, len(group_ids))
        for is_sample, found in kept.items():
            chosen = rows.filter((pl.col("sample_index") >= 0) == is_sample)["advantage"]
            found.append(chosen.drop_nulls().cast(pl.Float32).to_numpy())
    preview.masked = work.recipe.masked
    samples, references = (np.concatenate([*kept[kind], np.zeros(0, np.float32)]) for kind in (True, False))
    preview.sample_advantages, preview.reference_advantages = distribution(samples), distribution(references)
    preview.histogram = histogram(samples)
    return preview


def distribution(values: np.ndarray) -> dict[str, float]:
    """Mean, population standard deviation and quantiles; empty without values."""
    if not len(values):
        return {}
    exact = values.astype(np.float64)
    quantiles = np.quantile(exact, QUANTILES)
    named = {f"{share:.0%}": float(value) for share, value in zip(QUANTILES, quantiles, strict=True)}
    return {"mean": float(exact.mean()), "std": float(exact.std()), **named}


def histogram(values: np.ndarray) -> dict[str, int]:
    """Counts in `BINS` bins of equal width from the lowest to the highest value."""
    if not len(values):
        return {}
    counts, edges = np.histogram(values.astype(np.float64), BINS)
    spans = zip(counts, edges[:-1], edges[1:], strict=True)
    return {f"{low:.4g} … {high:.4g}": int(count) for count, low, high in spans}
