"""Knapsack RL: each further sample goes to the prompt that gains most by it."""

import heapq
from typing import Annotated

import polars as pl
from pydantic import Field

from grao_pipeline.errors import UsageError
from grao_pipeline.methods import method
from grao_pipeline.prompts.budgets.least import refuse_too_few

Least = Annotated[int, Field(description="Samples that every prompt gets.", ge=1)]
Most = Annotated[int, Field(description="Most samples of a prompt.", ge=1)]
Window = Annotated[int, Field(description="A prompt's newest outcomes that count.", ge=1)]
Enough = Annotated[int, Field(description="Fewer outcomes than this say nothing: the prompt gets the mean.", ge=1)]


@method(
    "arXiv 2509.25849",
    "max Σ_i v_i(N_i) subject to Σ_i N_i = total\nv(N) = (1 − p^N − (1 − p)^N) p (1 − p)²        p the success rate",
)
def knapsack(
    history: pl.DataFrame,
    total: int,
    *,
    success_threshold: float,
    least: Least = 2,
    most: Most = 128,
    window: Window = 16,
    enough: Enough = 8,
) -> list[int]:
    """Gives samples to prompts by the value of a mixed group, which is exact: the gain of a further one always falls.

    A prompt whose outcomes are all equal gets the least, for it gains nothing; one with too few outcomes gets the
    mean. What remains where every other prompt has the most is not spent. The released program credits the first
    extra sample with nothing; that is not copied.
    """
    refuse_too_few(total, least, history.height)
    if most < least:
        raise UsageError(f"most={most} is less than least={least}.", option="budget_arg")
    mean = min(max(total // max(history.height, 1), least), most)
    counts, gains = [], []
    for row, rewards in enumerate(history["rewards"].to_list()):
        outcomes = [reward >= success_threshold for reward in rewards or ()][-window:]
        rate = sum(outcomes) / max(len(outcomes), 1)
        counts.append(mean if len(outcomes) < enough else least)
        if len(outcomes) >= enough and 0.0 < rate < 1.0:
            gains.append((-_gain(rate, least), row, rate))
    heapq.heapify(gains)
    left = total - sum(counts)
    while left > 0 and gains:
        _, row, rate = heapq.heappop(gains)
        if counts[row] < most:
            counts[row] += 1
            left -= 1
            heapq.heappush(gains, (-_gain(rate, counts[row]), row, rate))
    return counts


def _gain(rate: float, samples: int) -> float:
    """v(N + 1) − v(N)."""
    wrong = 1.0 - rate
    return float((rate**samples * wrong + wrong**samples * rate) * rate * wrong**2)
