"""Two models on the same prompts: the mean difference per prompt, with an interval over prompts.

What makes a prompt easy or hard for both models cancels in the difference, so that its interval is narrower than that
of the difference of two separate means. `narrower` says by how much.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from grao_pipeline.evaluation.intervals import Estimate, bootstrap_mean
from grao_pipeline.evaluation.metrics import mean_reward
from grao_pipeline.evaluation.scored_prompts import ScoredPrompt


@dataclass(frozen=True)
class PairedDifference:
    """The mean reward of one model minus that of another, over the prompts that both have scored samples of."""

    difference: Estimate
    narrower: float | None
    """Width of the interval over that of the difference of two means whose prompts are resampled separately; None where
    the latter has no width."""


def paired_difference(
    one: Mapping[str, ScoredPrompt],
    other: Mapping[str, ScoredPrompt],
    confidence: float,
    num_samples: int,
    seed: int,
) -> PairedDifference | None:
    """Mean reward of `one` − mean reward of `other`, prompt by prompt; None without a common prompt.

    Args:
        one, other: by prompt ID.
        confidence: coverage, e.g. 0.95.
        num_samples: bootstrap resamples.
    """
    means = [(mean_reward(one[i].rewards), mean_reward(other[i].rewards)) for i in one if i in other]
    values = np.array([pair for pair in means if None not in pair], dtype=np.float64).reshape(-1, 2)
    difference = bootstrap_mean((values[:, 0] - values[:, 1]).tolist(), confidence, num_samples, seed)
    if difference is None:
        return None
    separate = _separate_width(values, confidence, num_samples, seed)
    return PairedDifference(difference, (difference.high - difference.low) / separate if separate else None)


def _separate_width(values: np.ndarray, confidence: float, num_samples: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    drawn = np.array(
        [
            [column[generator.integers(len(column), size=len(column))].mean() for column in values.T]
            for _ in range(num_samples)
        ]
    )
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(drawn[:, 0] - drawn[:, 1], [tail, 1.0 - tail])
    return float(high - low)
