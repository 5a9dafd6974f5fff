"""Options of `grao evaluate`."""

from typing import Self

from pydantic import PositiveInt, model_validator

from grao_pipeline.options import StageOptions, option, tables


class EvaluateOptions(StageOptions):
    """`grao evaluate`: groups + scores → metrics."""

    base_groups: str | None = tables(
        None, "Groups that the base model sampled from the same prompts, for NAG.", metavar="TABLE"
    )
    base_scores: str | None = tables(None, "Scores of these groups by the same reward.", metavar="TABLE")
    pass_at: list[PositiveInt] = option([], "Estimate pass@K for this K, and the success rate. Repeatable.")
    success: float = option(1.0, "Reward from which on a sample is a success, for --pass-at.")
    by: list[str] = option([], "Metadata field by whose values the metrics are broken down, too. Repeatable.")
    confidence: float = option(0.95, "Coverage of the bootstrap intervals.", gt=0.0, lt=1.0)
    bootstrap_samples: int = option(10_000, "Bootstrap resamples of the prompts.", ge=100, le=1_000_000)
    seed: int = option(0, "Seed of the bootstrap.", ge=0)

    @model_validator(mode="after")
    def _base_is_complete(self) -> Self:
        if (self.base_groups is None) != (self.base_scores is None):
            raise ValueError("--base-groups and --base-scores go together: give both or neither")
        if "success" in self.model_fields_set and not self.pass_at:
            raise ValueError("success needs pass_at: it says which samples pass@K counts")
        return self
