"""Bootstrap intervals over prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Resampled values that are held at once: bounds the memory for any number of prompts.
CHUNK_VALUES = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its percentile-bootstrap interval.

    Example: `Estimate(value=0.61, low=0.54, high=0.68, n=200)`
    """

    value: float
    low: float
    high: float
    n: int


def bootstrap_mean(values: Sequence[float], confidence: float, num_samples: int, seed: int) -> Estimate | None:
    """The mean of per-prompt values and its interval; None without values.

    Args:
        confidence: coverage, e.g. 0.95.
        num_samples: bootstrap resamples of the prompts.
    """
    return bootstrap_means([values], confidence, num_samples, seed)[0]


def bootstrap_means(
    columns: Sequence[Sequence[float]], confidence: float, num_samples: int, seed: int
) -> list[Estimate | None]:
    """As `bootstrap_mean`, of several columns. Those of the same length are resampled by the same draws."""
    arrays = [np.asarray(values, dtype=np.float64) for values in columns]
    estimates: list[Estimate | None] = [None] * len(arrays)
    tail = (1.0 - confidence) / 2.0
    for size in {array.size for array in arrays if array.size}:
        places = [place for place, array in enumerate(arrays) if array.size == size]
        means = _resampled_means([arrays[place] for place in places], num_samples, seed)
        for place, of_samples in zip(places, means, strict=True):
            low, high = np.quantile(of_samples, [tail, 1.0 - tail])
            estimates[place] = Estimate(float(arrays[place].mean()), float(low), float(high), size)
    return estimates


def _resampled_means(arrays: Sequence[np.ndarray], num_samples: int, seed: int) -> np.ndarray:
    """The mean of every array [n] in each resample: [len(arrays), num_samples]."""
    size = arrays[0].size
    generator = np.random.default_rng(seed)
    means = np.empty((len(arrays), num_samples))
    rows = max(1, CHUNK_VALUES // size)
    for start in range(0, num_samples, rows):
        drawn = generator.integers(size, size=(min(rows, num_samples - start), size))
        for place, array in enumerate(arrays):
            means[place, start : start + rows] = array[drawn].mean(axis=1)
    return means
