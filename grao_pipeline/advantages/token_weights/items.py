"""Rank-GRPO: advantages of the items of a list."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from grao_pipeline.advantages.token_weights.groups import mean_of, numbered
from grao_pipeline.advantages.token_weights.tokens import Steps, Tokens
from grao_pipeline.methods import method, traits

EPSILON = 1e-4
Scores = Annotated[str, Field(description="Name of a --feature whose scores have steps: one per item of the list.")]
Reward = Annotated[
    Literal["hit", "discounted"], Field(description="An item's own reward, or its share of the discounted gain.")
]


@method(
    "arXiv 2510.20150",
    "Â_{i,k} = (r_{i,k} − mean_i) / (s_i + 1e-4)        over the group's samples at place k, s with n − 1\n"
    "hit: r_{i,k} = rel_k; discounted: r_{i,k} = Σ_{j ≥ k} rel_j / log₂(j + 1)",
    needs="completion_token_ends, and --feature NAME=SCORES with steps (rewards)",
    options="--keep-zero-variance",
)
@traits(gives="advantages", reads_steps=True)
def items(tokens: Tokens, *, scores: Scores, reward: Reward = "hit") -> np.ndarray:
    """Compares the k-th items of the group's lists with each other.

    Tokens outside of the items have advantage 0. The paper's importance ratio is per item; objectives clip per token.
    """
    steps = tokens.steps[scores]
    gain = np.nan_to_num(steps.reward)
    if reward == "discounted":
        gain = _sum_from_here(steps, gain / np.log2(steps.number + 2))
    is_counted = ~np.isnan(tokens.advantage)[steps.sample]
    kind = numbered(tokens.group[steps.sample].tolist(), steps.number.tolist())
    mean, count = mean_of(gain, kind, is_counted)
    squares, _ = mean_of((gain - mean) ** 2, kind, is_counted)
    std = np.sqrt(squares * count / np.maximum(count - 1, 1))
    of_step = np.where(count > 1, (gain - mean) / (std + EPSILON), 0.0)
    return np.where(np.isnan(tokens.advantage[tokens.sample]), np.nan, steps.to_tokens(of_step))


def _sum_from_here(steps: Steps, values: np.ndarray) -> np.ndarray:
    """Σ_{j ≥ k} values_j within each sample. [T]"""
    sums = values.copy()
    for index in range(len(sums) - 2, -1, -1):
        if steps.sample[index] == steps.sample[index + 1]:
            sums[index] += sums[index + 1]
    return sums
