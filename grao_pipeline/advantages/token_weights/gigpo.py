"""GiGPO: advantages of steps next to those of episodes."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from grao_pipeline.advantages.token_weights.groups import EPSILON, centered, discounted_returns, numbered
from grao_pipeline.advantages.token_weights.tokens import Tokens
from grao_pipeline.methods import method, traits

Scores = Annotated[str, Field(description="Name of a --feature whose scores have steps.", examples=["NAME"])]
Omega = Annotated[float, Field(description="Weight of the steps' advantages.", ge=0.0)]
Discount = Annotated[float, Field(description="Discount of later steps' rewards.", ge=0.0, le=1.0)]
Norm = Annotated[Literal["mean", "mean-std"], Field(description="Whether they are divided by their deviation.")]


@method(
    "arXiv 2505.10978 and its code",
    "Â_{s,step} = Â_s + omega · (discounted return of the step − mean over all steps of the prompt in the same state)",
    needs="completion_token_ends, and --feature NAME=SCORES with steps (rewards and states)",
    options="--feature NAME=TABLE --estimator dr-grpo --statistics samples --keep-zero-variance",
)
@traits(gives="advantages", reads_steps=True)
def gigpo(
    tokens: Tokens, *, scores: Scores, omega: Omega = 1.0, discount: Discount = 0.95, norm: Norm = "mean"
) -> np.ndarray:
    """Compares steps that samples of a prompt took in the same state, in addition to whole samples.

    A state that was seen once adds nothing, and a token that belongs to no step has the advantage of its sample. Made
    for agents in an environment (imported trajectories): in plain text a state almost never recurs.
    """
    steps = tokens.steps[scores]
    is_counted = ~np.isnan(tokens.advantage)[steps.sample] & np.array(
        [state is not None for state in steps.state], bool
    )
    state = numbered(tokens.group[steps.sample].tolist(), steps.state)
    returns = discounted_returns(steps.sample, steps.reward, discount)
    of_step = centered(returns, state, is_counted, EPSILON if norm == "mean-std" else None)
    return np.asarray(tokens.advantage[tokens.sample] + omega * steps.to_tokens(of_step))
