"""Means and intervals over seeds, and the step at which a curve reaches a value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Degrees of freedom → the 97.5 % quantile of Student's t."""
MAX_SEEDS = max(T_975) + 1


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and half the width of its 95 % interval.

    Example: `Interval(0.91, 0.02)` is 0.89 to 0.93.
    """

    mean: float
    half_width: float


def t_interval(values: Sequence[float]) -> Interval:
    """Mean ± t · s / √n, s with n − 1, over 2 to 10 values."""
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(float(np.mean(values)), T_975[len(values) - 1] * spread)


def first_step(steps: Sequence[int], means: Sequence[float], target: float) -> int | None:
    """The first step whose value is at least `target`; None where no value is."""
    return next((step for step, mean in zip(steps, means, strict=True) if mean >= target), None)
