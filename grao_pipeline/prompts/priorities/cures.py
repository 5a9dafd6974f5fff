"""CurES: prompts of middle difficulty, sharply."""

from typing import Annotated

import polars as pl
from pydantic import Field

from grao_pipeline.methods import method
from grao_pipeline.prompts.outcomes import uncertainty

Tau = Annotated[
    float, Field(description="How sharply middle difficulty is preferred; small: sharply.", gt=0, examples=[0.1])
]


@method(
    "arXiv 2510.01037",
    "w ∝ exp(√(p (1 − p)) / tau)        p = (successes + 1) / (samples + 2) over all rounds",
)
def cures(history: pl.DataFrame, *, success_threshold: float, tau: Tau) -> pl.Expr:
    """Prefers prompts that succeed half the time, with the success rate's posterior mean over all rounds.

    The paper states no tau. Its released sampler draws uniformly within 0.3 %; this is the formula of its text. Use it
    with `--uniform-mix 0`. A prompt that was never seen has p = ½.
    """
    return ((uncertainty(success_threshold) - 0.5) / tau).exp()  # a common factor, so that none is infinite
