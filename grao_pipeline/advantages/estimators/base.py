"""The base class of estimators, and the statistics that they share.

`statistics` names the sequences that count in a group's statistics: `samples_and_reference` (o_1 … o_G and y) or
`samples`. A sequence without a reward never counts. All statistics are expressions on the flat view, in float64.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import polars as pl

from grao_pipeline.arguments import NoArguments, PluginArguments
from grao_pipeline.errors import UsageError

REWARD = pl.col("reward").cast(pl.Float64)


class Estimator(ABC):
    """Turns rewards into advantages.

    `uses_rewards` is given where the class is defined; False means that a group without a spread of rewards is worth as
    much as any other: `class Sft(Estimator, uses_rewards=False)`.

    Example:
        class Centered(Estimator):
            class Arguments(PluginArguments):
                scale: float = argument(1.0, "Factor of every advantage.")

            arguments: Arguments

            def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
                return (REWARD - group_mean(statistics)) * self.arguments.scale
    """

    Arguments: ClassVar[type[PluginArguments]] = NoArguments
    uses_rewards: ClassVar[bool] = True
    needs_combination: ClassVar[str] = ""
    """The `--combine` that it needs; empty where any fits."""

    def __init_subclass__(cls, *, uses_rewards: bool | None = None) -> None:
        super().__init_subclass__()
        if uses_rewards is not None:
            cls.uses_rewards = uses_rewards

    def __init__(self, arguments: PluginArguments) -> None:
        self.arguments = arguments

    @property
    def plugin(self) -> Callable[..., object]:
        """The class or function."""
        return type(self)

    @abstractmethod
    def over_group(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr:
        """The advantage of every row; null = not trained on. Statistics of a group are `….over("group_id")`.

        Args:
            view: the flat view with column `reward`: the combined reward, null where unscored or masked.
            statistics: the sequences that count, see above.
        """

    def over_table(self, view: pl.DataFrame, *, statistics: str) -> pl.Expr | Mapping[str, pl.Expr] | None:
        """The values whose standard deviation over all groups of the table `over_group` reads as column `table_std`;
        null = does not count. An estimator without this method has no such column.

        A mapping gives several: their means, population standard deviations and numbers are the columns
        `table_mean.NAME`, `table_std.NAME` and `table_count.NAME`.
        """
        return None

    @property
    def reads_table_std(self) -> bool:
        """Whether the class defines `over_table`."""
        return type(self).over_table is not Estimator.over_table


def counted_reward(statistics: str) -> pl.Expr:
    """The reward where a row counts in the group's statistics, null elsewhere.

    Raises:
        UsageError: `statistics` is neither `samples_and_reference` nor `samples`.
    """
    if statistics == "samples_and_reference":
        return REWARD
    if statistics == "samples":
        return pl.when(pl.col("source") == "sample").then(REWARD)
    raise UsageError(f"{statistics!r}: allowed are samples_and_reference and samples.", option="statistics")


def group_mean(statistics: str) -> pl.Expr:
    """μ: the mean of the group's counted rewards; of equal rewards exactly their value, so that R − μ is exactly 0."""
    counted = counted_reward(statistics)
    lowest = counted.min().over("group_id")
    equal = lowest == counted.max().over("group_id")
    return pl.when(equal).then(lowest).otherwise(counted.mean().over("group_id"))


def group_std(statistics: str) -> pl.Expr:
    """σ: the population standard deviation of the group's counted rewards; of equal rewards exactly 0.

    The rewards themselves are compared, so that a rounded mean cannot turn equal rewards into a spread.
    """
    counted = counted_reward(statistics)
    equal = counted.min().over("group_id") == counted.max().over("group_id")
    return pl.when(equal).then(0.0).otherwise(counted.std(ddof=0).over("group_id"))


def group_size(statistics: str) -> pl.Expr:
    """n: the number of counted sequences of the group."""
    return counted_reward(statistics).count().over("group_id")


def standardized(values: pl.Expr, std: pl.Expr) -> pl.Expr:
    """values / std; exactly 0 where std = 0, null where the reward is null."""
    quotient = pl.when(std == 0.0).then(0.0).otherwise(values / std)
    return pl.when(REWARD.is_not_null()).then(quotient)
