"""`grao advantages --dry-run`: the numbers of the table that would be written; nothing is written."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from grao_pipeline.advantages.compute import open_computation
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.advantages.summary import AdvantagesSummary, Tally

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
BINS = 10


@dataclass
class AdvantagesPreview(AdvantagesSummary):
    """The summary of the table that would be written, and how its advantages are distributed."""

    sample_advantages: dict[str, float] = field(default_factory=dict)
    """Mean, standard deviation and quantiles over the samples that are trained on."""
    reference_advantages: dict[str, float] = field(default_factory=dict)
    histogram: dict[str, int] = field(default_factory=dict)
    """The number of samples with an advantage from … to …, in bins of equal width; the last includes its upper end."""


def preview_advantages(groups_url: str, options: AdvantagesOptions) -> AdvantagesPreview:
    """Compute everything and write nothing. The advantages are held in memory, four bytes each.

    Raises:
        UsageError: see `open_computation`.
        MismatchError: see `open_computation`.
        InputError: no sample has a combined reward.
    """
    computation = open_computation(groups_url, options)
    preview = AdvantagesPreview(fingerprint=computation.provenance.fingerprint)
    tally = Tally(preview, computation.recipe)
    samples, references = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for batch in computation.batches():
        tally.add(batch.rows, len(batch.group_ids))
        trained = batch.rows.select("sample_index", pl.col("advantage").cast(pl.Float32)).drop_nulls("advantage")
        is_sample = trained["sample_index"] >= 0
        samples.append(trained["advantage"].filter(is_sample).to_numpy())
        references.append(trained["advantage"].filter(~is_sample).to_numpy())
    tally.finish(computation.result)
    preview.sample_advantages = distribution(np.concatenate(samples))
    preview.reference_advantages = distribution(np.concatenate(references))
    preview.histogram = histogram(np.concatenate(samples))
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
