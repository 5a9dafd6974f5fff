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
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return None
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK_VALUES // array.size)
    means = [
        array[generator.integers(array.size, size=(min(rows, num_samples - start), array.size))].mean(axis=1)
        for start in range(0, num_samples, rows)
    ]
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.concatenate(means), [tail, 1.0 - tail])
    return Estimate(float(array.mean()), float(low), float(high), int(array.size))
