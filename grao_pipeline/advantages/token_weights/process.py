"""GRPO with process supervision: the rewards of steps, standardized over the group."""

from typing import Annotated

import numpy as np
from pydantic import Field

from grao_pipeline.advantages.token_weights.groups import EPSILON, centered, discounted_returns
from grao_pipeline.advantages.token_weights.tokens import Tokens
from grao_pipeline.methods import method, traits

Scores = Annotated[str, Field(description="Name of a --feature whose scores have steps.", examples=["NAME"])]
Whole = Annotated[float, Field(description="Share of the sample's own advantage that every token gets in addition.")]


@method(
    "arXiv 2402.03300, section 4.1.3 (GRPO with process supervision)",
    "Â_{s,t} = whole · Â_s + Σ_{k: step k ends at t or later} (r_k − mean) / (s + ε)\n"
    "    mean and s (n − 1) over all steps of the group's samples",
    needs="completion_token_ends, and --feature NAME=SCORES with steps (rewards), e.g. of process-reward-model",
    options="--feature NAME=TABLE --keep-zero-variance",
)
@traits(gives="advantages", reads_steps=True)
def process(tokens: Tokens, *, scores: Scores, whole: Whole = 0.0) -> np.ndarray:
    """Gives a token the standardized rewards of the step that it is in, and of all later ones.

    Tokens after the last step, and steps without a reward, add nothing. The paper has whole=0.
    """
    steps = tokens.steps[scores]
    is_counted = ~np.isnan(tokens.advantage)[steps.sample] & ~np.isnan(steps.reward)
    standardized = centered(np.nan_to_num(steps.reward), tokens.group[steps.sample], is_counted, EPSILON)
    of_step = discounted_returns(steps.sample, standardized)
    return np.asarray(whole * tokens.advantage[tokens.sample] + steps.to_tokens(of_step))
