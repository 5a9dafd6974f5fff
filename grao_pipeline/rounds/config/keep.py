"""The section `keep`: which models stay on the disk while the rounds go on."""

from typing import Literal

from pydantic import Field

from grao_pipeline.options import StageOptions


class Keep(StageOptions):
    """What is kept.

    Example: `Keep(models="best+last", metric="nag_net")`
    """

    models: Literal["all", "best+last", "last"] = Field(
        "best+last", description="Models whose weights are kept; the optimizer's state is that of the last one."
    )
    metric: Literal["mean_reward", "ras", "nag_win_rate", "nag_net"] = Field(
        "mean_reward", description="The best model is the one with the highest value of this metric."
    )
