"""DAPO's soft punishment of long samples."""

from typing import Annotated

import polars as pl
from pydantic import Field

from grao_pipeline.advantages.reshapes.rewards import IS_SAMPLE, REWARD
from grao_pipeline.methods import method

Limit = Annotated[
    int,
    Field(description="L_max: the tokens at which the punishment is 1, e.g. --max-new-tokens.", gt=0, examples=[512]),
]
Buffer = Annotated[
    int, Field(description="L_cache: the punishment begins this many tokens earlier.", gt=0, examples=[64])
]


@method(
    "arXiv 2503.14476, Eq. 13",
    "R ← R − clip((|o| − (limit − buffer)) / buffer, 0, 1)",
)
def overlong(view: pl.DataFrame, *, statistics: str, limit: Limit, buffer: Buffer) -> pl.Expr:
    """Takes up to 1 from the reward of a sample that comes near its token limit. The reference keeps its reward."""
    excess = (pl.col("num_tokens").cast(pl.Float64) - (limit - buffer)) / buffer
    return pl.when(IS_SAMPLE).then(REWARD - excess.clip(0.0, 1.0)).otherwise(REWARD)
