"""Options of `grao compare` and `grao audit`."""

from copy import copy
from typing import Any, Literal

from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.options import KeyValues, StageOptions, option, runtime, tables
from grao_pipeline.training.options import TrainOptions


def _as_in(model: type[StageOptions], name: str) -> Any:
    """The option of a stage, with its default and help."""
    return copy(model.model_fields[name])


class CompareOptions(StageOptions):
    """`grao compare`: what another reward would change in the training weights of the same samples."""

    estimator: str = _as_in(AdvantagesOptions, "estimator")
    estimator_arg: KeyValues = _as_in(AdvantagesOptions, "estimator_arg")
    statistics: Literal["samples_and_reference", "samples"] = _as_in(AdvantagesOptions, "statistics")
    reference_floor: float | None = _as_in(AdvantagesOptions, "reference_floor")
    beta: float = _as_in(TrainOptions, "beta")
    lambda_: float = _as_in(TrainOptions, "lambda_")
    confidence: float = option(0.95, "Coverage of the interval of the rank correlation.", gt=0.0, lt=1.0)
    top: int = runtime(3, "Groups that differ most to show.", ge=0, le=1000)


class AuditOptions(StageOptions):
    """`grao audit`: what a reward pays for within groups: length, format, hedging."""

    history: list[tuple[str, str]] = tables(
        [], "Groups and scores of another round, by the same reward. Repeatable.", metavar="GROUPS SCORES"
    )
    second: str | None = tables(
        None, "Scores of GROUPS by another reward, to judge the samples with the highest advantage by.", metavar="TABLE"
    )
    threshold: float = option(
        0.2, "Mean rank correlation within groups from which on a feature is flagged.", ge=0, le=1
    )
    confidence: float = option(
        0.99,
        "Probability that a reward that pays for no feature is flagged nowhere; coverage of the intervals.",
        gt=0,
        lt=1,
    )
