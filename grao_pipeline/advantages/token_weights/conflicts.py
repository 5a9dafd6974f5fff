"""GTPO: tokens on which good and bad samples agree."""

from typing import Annotated

import numpy as np
from pydantic import Field

from grao_pipeline.advantages.token_weights.tokens import Tokens
from grao_pipeline.methods import method

Boost = Annotated[float, Field(description="Factor of such a token in a sample with Â > 0.", ge=1.0)]


@method(
    "arXiv 2508.03772",
    "factor boost where Â > 0, 0 where Â < 0, of a conflict token: the same token at the same place in samples of\n"
    "both signs, in the unbroken run from the start; likewise from the end; both factors are multiplied",
)
def conflicts(tokens: Tokens, *, boost: Boost = 2.0) -> np.ndarray:
    """Keeps failures from pushing down what successes begin and end with as well.

    The released loss also divides by the number of conflict tokens; this is not copied. The paper's advantages are
    those of the estimator `gtpo`.
    """
    advantage = np.nan_to_num(tokens.advantage)[tokens.sample]
    weight = np.where(advantage > 0, boost, np.where(advantage < 0, 0.0, 1.0))
    from_end = tokens.length[tokens.sample] - 1 - tokens.position
    factors = np.ones(len(tokens.ids))
    for place in (tokens.position, from_end):
        factors *= np.where(_in_run(tokens, place, advantage), weight, 1.0)
    return factors


def _in_run(tokens: Tokens, place: np.ndarray, advantage: np.ndarray) -> np.ndarray:
    """Whether all tokens of the sample up to this place are conflict tokens. [N]"""
    keys = np.stack([tokens.group[tokens.sample], place, tokens.ids], axis=1)
    _, key = np.unique(keys, axis=0, return_inverse=True)
    key = key.reshape(-1)
    is_both = (np.bincount(key, advantage > 0) > 0) & (np.bincount(key, advantage < 0) > 0)
    is_conflict = is_both[key] & (advantage != 0)
    first_other = tokens.length.copy()
    np.minimum.at(first_other, tokens.sample[~is_conflict], place[~is_conflict])
    return np.asarray(place < first_other[tokens.sample])
