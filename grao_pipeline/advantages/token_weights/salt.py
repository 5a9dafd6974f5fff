"""SALT: steps that samples share get the mean of their advantages."""

from typing import Annotated

import numpy as np
from pydantic import Field

from grao_pipeline.advantages.token_weights.groups import mean_of, numbered
from grao_pipeline.advantages.token_weights.tokens import Tokens
from grao_pipeline.methods import method, traits

Scores = Annotated[str, Field(description="Name of a --feature whose scores have steps.", examples=["NAME"])]


@method(
    "arXiv 2510.20022",
    "Â_{s,step} = mean of Â over the prompt's samples with a step of the same state, next state and tokens",
    needs="completion_token_ends, and --feature NAME=SCORES with steps (states)",
    options="--feature NAME=TABLE",
)
@traits(gives="advantages", reads_steps=True)
def salt(tokens: Tokens, *, scores: Scores) -> np.ndarray:
    """Gives a step that good and bad samples share the mean of their advantages; other steps keep their own.

    After the last step of a sample the next state is the end. A step without a state is shared by no other.
    """
    steps = tokens.steps[scores]
    sample, count = steps.sample, len(steps.sample)
    actions: list[list[int]] = [[] for _ in range(count)]
    for step, token in zip(steps.of_token.tolist(), tokens.ids.tolist(), strict=True):
        if step >= 0:
            actions[step].append(token)
    last = np.append(sample[1:] != sample[:-1], True) if count else np.zeros(0, dtype=bool)
    following = ["the end" if last[index] else (steps.state[index + 1],) for index in range(count)]
    kind = numbered(tokens.group[sample].tolist(), steps.state, following, map(tuple, actions))
    advantage = tokens.advantage[sample]
    is_counted = ~np.isnan(advantage) & np.array([state is not None for state in steps.state], dtype=bool)
    mean, _ = mean_of(np.nan_to_num(advantage), kind, is_counted)
    of_step = np.where(is_counted, mean, advantage)
    return steps.to_tokens(of_step, otherwise=tokens.advantage[tokens.sample])
