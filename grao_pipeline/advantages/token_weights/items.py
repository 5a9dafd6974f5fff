"""Rank-GRPO: advantages of the items of a list."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from grao_pipeline.advantages.token_weights.groups import centered, discounted_returns, numbered
from grao_pipeline.advantages.token_weights.tokens import Tokens
from grao_pipeline.methods import method, traits

EPSILON = 1e-4
Scores = Annotated[
    str, Field(description="Name of a --feature whose scores have steps: one per item of the list.", examples=["NAME"])
]
Reward = Annotated[
    Literal["hit", "discounted"], Field(description="An item's own reward, or its share of the discounted gain.")
]


@method(
    "arXiv 2510.20150",
    "Â_{i,k} = (r_{i,k} − mean_i) / (s_i + 1e-4)        over the group's samples at place k, s with n − 1\n"
    "hit: r_{i,k} = rel_k; discounted: r_{i,k} = Σ_{j ≥ k} rel_j / log₂(j + 1)",
    needs="completion_token_ends, and --feature NAME=SCORES with steps (rewards)",
    options="--feature NAME=TABLE --keep-zero-variance",
)
@traits(gives="advantages", reads_steps=True)
def items(tokens: Tokens, *, scores: Scores, reward: Reward = "hit") -> np.ndarray:
    """Compares the k-th items of the group's lists with each other.

    Tokens outside of the items have advantage 0. The paper's importance ratio is per item; objectives clip per token.
    """
    steps = tokens.steps[scores]
    gain = np.nan_to_num(steps.reward)
    if reward == "discounted":
        gain = discounted_returns(steps.sample, gain / np.log2(steps.number + 2))
    is_counted = ~np.isnan(tokens.advantage)[steps.sample]
    kind = numbered(tokens.group[steps.sample].tolist(), steps.number.tolist())
    of_step = centered(gain, kind, is_counted, EPSILON)
    return np.where(np.isnan(tokens.advantage[tokens.sample]), np.nan, steps.to_tokens(of_step))
