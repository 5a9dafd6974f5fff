"""Training on the uncertain tokens alone."""

from typing import Annotated

import numpy as np
from pydantic import Field

from grao_pipeline.advantages.token_weights.tokens import Tokens
from grao_pipeline.methods import method

Share = Annotated[float, Field(description="Share of the group's tokens that are trained on.", gt=0.0, le=1.0)]


@method(
    "after arXiv 2506.01939",
    "factor 1 for the ⌈share · N⌉ tokens of the group with the lowest log-probs, 0 for the others",
    needs="log-probs of the samples",
)
def top_entropy(tokens: Tokens, *, share: Share = 0.2) -> np.ndarray:
    """Trains on the least likely tokens of a group alone, where the policy branched.

    The paper ranks tokens by the entropy of the distribution at their place; of a sampled token only its own log-prob
    is stored, whose negative is that entropy on average. Samples without log-probs keep all tokens, and those that are
    not trained on do not count. Of equal log-probs the earlier token comes first.
    """
    factors = np.ones(len(tokens.ids))
    counts = ~np.isnan(tokens.logprobs) & ~np.isnan(tokens.advantage)[tokens.sample]
    group = tokens.group[tokens.sample]
    order = np.lexsort((tokens.logprobs, group))
    order = order[counts[order]]
    size = np.bincount(group[order], minlength=int(group.max(initial=0)) + 1)
    place = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
    factors[order] = place < np.ceil(share * size)[group[order]]
    return factors
