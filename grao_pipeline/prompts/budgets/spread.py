"""CurES' budgets: samples in proportion to the deviation of a prompt's outcomes."""

from typing import Annotated

import polars as pl
from pydantic import Field

from grao_pipeline.methods import method
from grao_pipeline.prompts.budgets.least import refuse_too_few
from grao_pipeline.prompts.outcomes import uncertainty

Least = Annotated[int, Field(description="Samples that every prompt gets.", ge=1)]


@method(
    "arXiv 2510.01037",
    "N_i = total · σ_i / Σ σ, by largest remainder        σ = √(p (1 − p)),  p = (successes + 1) / (samples + 2)",
)
def spread(history: pl.DataFrame, total: int, *, success_threshold: float, least: Least = 2) -> list[int]:
    """Gives every prompt samples in proportion to the standard deviation of its outcomes over all rounds.

    In the paper the deviation also holds squared norms of gradients, which no stored table has. Where a share is below
    the least, the prompt gets the least, and the others share what remains.
    """
    refuse_too_few(total, least, history.height)
    sigmas = history.select(uncertainty(success_threshold)).to_series().to_list()
    sharing, at_least = list(range(history.height)), 0
    while True:
        left, weight = total - least * at_least, sum(sigmas[row] for row in sharing)
        shares = {row: left * sigmas[row] / weight for row in sharing}
        small = [row for row in sharing if shares[row] < least]
        if not small:
            break
        at_least += len(small)
        sharing = [row for row in sharing if row not in set(small)]
    counts = [int(shares.get(row, least)) for row in range(history.height)]
    by_remainder = sorted(sharing, key=lambda row: (counts[row] - shares[row], row))
    for row in by_remainder[: max(total - sum(counts), 0)]:
        counts[row] += 1
    return counts
