"""Unlikeliness reward."""

from typing import Annotated

import polars as pl
from pydantic import Field

from grao_pipeline.advantages.reshapes.rewards import IS_SAMPLE, REWARD, refuse_negative
from grao_pipeline.methods import method

Beta = Annotated[float, Field(description="The most likely sample loses almost this share of its reward.", ge=0, le=1)]


@method(
    "arXiv 2506.02355",
    "R_i ← R_i (1 − beta · rank_i)\nrank_i = place of ℓ_b(o_i) in the group from the least likely, from 0, over G",
    needs="log-probs of the samples",
)
def unlikely(view: pl.DataFrame, *, statistics: str, beta: Beta = 0.25) -> pl.Expr:
    """Rewards unlikely successes more than likely ones, so that rare solutions are not lost.

    Only rewards of at least 0 have this meaning. Of equally likely samples the earlier one counts as less likely. The
    reference keeps its reward, and so does a sample without log-probs. The paper adds two epochs, a KL of 0.1 and
    groups of 32 samples.
    """
    refuse_negative(view, "unlikely")
    likelihood = pl.when(IS_SAMPLE & pl.col("reward").is_not_null()).then(pl.col("mean_logprob"))
    place = likelihood.rank("ordinal").over("group_id").cast(pl.Float64) - 1.0
    rank = place / likelihood.count().over("group_id")
    return REWARD * (1.0 - beta * rank.fill_null(0.0))
