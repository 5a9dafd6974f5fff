"""The learning rate as a function of the step."""

import math
from typing import Literal


def learning_rate(
    step: int, total_steps: int, peak: float, warmup_steps: int, schedule: Literal["constant", "linear", "cosine"]
) -> float:
    """Learning rate of optimizer step `step` (0 is the first).

    Linear warm-up reaches `peak` at step `warmup_steps`; then constant, or linear or half-cosine decay that would
    reach 0 at `total_steps`.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if schedule == "linear":
        return peak * (1.0 - progress)
    if schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
    return peak
