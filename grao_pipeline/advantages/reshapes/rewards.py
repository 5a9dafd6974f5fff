"""What reshapes share."""

import polars as pl

from grao_pipeline.errors import UsageError

REWARD = pl.col("reward").cast(pl.Float64)
IS_SAMPLE = pl.col("source") == "sample"
SAMPLE_REWARD = pl.when(IS_SAMPLE).then(REWARD)


def refuse_negative(view: pl.DataFrame, name: str) -> None:
    """Check that no reward is negative: a factor below 1 would spare the failures.

    Raises:
        UsageError: one is.
    """
    lowest = view["reward"].min() if "reward" in view.columns else None
    if isinstance(lowest, float) and lowest < 0.0:
        raise UsageError(
            f"'{name}' multiplies rewards and needs rewards of at least 0; the lowest reward is {lowest:g}.",
            option="reshape",
        )
