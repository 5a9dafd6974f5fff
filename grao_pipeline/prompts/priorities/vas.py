"""MMR1's variance-aware sampling."""

from typing import Annotated

import polars as pl
from pydantic import Field

from grao_pipeline.methods import method, traits

Outcome = Annotated[float, Field(description="Weight of the variance of the rewards.", ge=0)]
Diversity = Annotated[float, Field(description="Weight of the share of distinct 3-grams of token IDs.", ge=0)]


@method(
    "arXiv 2509.21268",
    "v = outcome · Var(R) + diversity · D        D the share of distinct 3-grams in the group; Var(R) = p (1 − p) for "
    "0 and 1",
)
@traits(reads_tokens=True)
def vas(
    history: pl.DataFrame, *, success_threshold: float, outcome: Outcome = 0.8, diversity: Diversity = 0.2
) -> pl.Expr:
    """Adds the diversity of the group's texts to the variance of its rewards, in the last round that has some.

    With `--uniform-mix 0.5`, as in the paper, half of every prompt's chance does not depend on it. The paper draws with
    replacement, `grao curriculum` without.
    """
    return outcome * pl.col("variance") + diversity * pl.col("distinct")
