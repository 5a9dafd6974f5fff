"""The learning rate as a function of the step."""

import math
from typing import Literal


def learning_rate(
    step: int,
    total_steps: int,
    peak: float,
    warmup_steps: int,
    schedule: Literal["constant", "linear", "cosine"],
    earlier_steps: int = 0,
) -> float:
    """Learning rate of optimizer step `step` (0 is the first).

    Linear warm-up reaches `peak` at step `warmup_steps`; then constant, or linear or half-cosine decay that would
    reach 0 at `total_steps`.

    Args:
        earlier_steps: that the carried optimizer has done in earlier trainings. They count for the warm-up, so that
            rounds of one step warm up once; the decay is that of this training alone.
    """
    if earlier_steps + step < warmup_steps:
        return peak * (earlier_steps + step + 1) / (warmup_steps + 1)
    warmup_left = max(0, warmup_steps - earlier_steps)
    progress = (step - warmup_left) / max(1, total_steps - warmup_left)
    if schedule == "linear":
        return peak * (1.0 - progress)
    if schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
    return peak
