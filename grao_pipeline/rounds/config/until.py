"""The section `until`: when the rounds stop before the last one."""

from typing import Literal, Self

from pydantic import Field, model_validator

from grao_pipeline.amounts import some
from grao_pipeline.options import StageOptions


class Until(StageOptions):
    """When to stop.

    Example: `Until(metric="nag_net", at_least=0.5, patience=2)`
    """

    metric: Literal["mean_reward", "ras", "nag_win_rate", "nag_net"] = Field(
        "nag_net", description="Metric of the rounds' models on the held-out prompts."
    )
    at_least: float | None = Field(None, description="Stop after the first round whose model reaches this value.")
    patience: int | None = Field(
        None, ge=1, description="Stop after this many rounds in a row without a value above the best one before them."
    )

    @model_validator(mode="after")
    def _stops_at_something(self) -> Self:
        if self.at_least is None and self.patience is None:
            raise ValueError("give at_least, patience or both: without them nothing stops the rounds")
        return self

    def __str__(self) -> str:
        reasons = []
        if self.at_least is not None:
            reasons.append(f"{self.metric} is at least {self.at_least:g}")
        if self.patience is not None:
            reasons.append(f"{some(self.patience, 'round', 'rounds')} in a row did not raise {self.metric}")
        return " or ".join(reasons)


def reason_to_stop(values: list[float | None], until: Until) -> str | None:
    """Why the rounds stop after these values of the metric, one per round; None where they continue.

    Args:
        values: None for a round whose metric could not be computed, which counts as one without a better value.
    """
    newest = values[-1]
    if until.at_least is not None and newest is not None and newest >= until.at_least:
        return f"{until.metric} is {newest:.3f}, at least {until.at_least:g}"
    ranks = [float("-inf") if value is None else value for value in values]
    best = ranks.index(max(ranks))  # the first of equal ones
    if until.patience is not None and len(values) - 1 - best >= until.patience:
        return f"{until.metric} was best in round {best} ({ranks[best]:.3f}), {until.patience} rounds before the last"
    return None
