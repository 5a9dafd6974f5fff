"""Dynamic sampling: further samples for groups that teach nothing yet."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from grao_pipeline.methods import method

Signal = Literal["success", "variance"]
Until = Annotated[Signal, Field(description="What ends the sampling of a prompt: a success, or unequal rewards.")]
Samples = Annotated[int, Field(description="Samples of such a prompt.", ge=1)]


@method(
    "arXiv 2503.14476, Eq. 11; after arXiv 2601.06795",
    "N_i = samples where the last round has no success (until=success), or only equal rewards (until=variance); else 0",
)
def failed(
    history: pl.DataFrame, total: int, *, success_threshold: float, samples: Samples = 8, until: Until = "success"
) -> list[int]:
    """Samples only the prompts whose groups had no learning signal, in their order, until the total is spent.

    `variance` is DAPO's condition, `success` that of GDEPO. Both papers sample on within a step; here it is a pass of
    its own with the same policy (`resample` in the rounds). A prompt that was never seen counts as failed.
    """
    counts, left = [], total
    for lacks in history.select(lacks_signal(until, success_threshold)).to_series():
        counts.append(samples if lacks and left >= samples else 0)
        left -= counts[-1]
    return counts


def lacks_signal(until: Signal, success_threshold: float) -> pl.Expr:
    """Whether the last rewards of a prompt have no learning signal; true for a prompt without any."""
    last = pl.col("last")
    lacks = last.list.max() < success_threshold if until == "success" else last.list.max() == last.list.min()
    return lacks.fill_null(True)
