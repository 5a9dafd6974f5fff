"""Options of `grao advantages`."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from grao_pipeline.options import StageOptions, option, runtime, tables
from grao_pipeline.parsing import finite_number


class WeightedScores(BaseModel):
    """A scores table and its weight in the combined reward, written as `PATH` or `PATH=WEIGHT`.

    Example: `WeightedScores.model_validate("scores/gsm8k=0.8")`
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    url: str
    weight: float = 1.0

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        url, separator, weight = value.rpartition("=")
        if not separator:
            return {"url": value}
        number = finite_number(weight)
        if number is None:
            raise ValueError(f"the weight {weight!r} is not a number; write PATH=WEIGHT")
        return {"url": url, "weight": number}

    def __str__(self) -> str:
        return f"{self.url}={self.weight}"


class AdvantagesOptions(StageOptions):
    """`grao advantages`: groups + scores → advantages."""

    scores: list[WeightedScores] = tables([], "Scores table as PATH or PATH=WEIGHT. Repeatable.", metavar="TABLE")
    pool: list[tuple[str, str]] = tables(
        [],
        "Take a prompt's statistics over its samples in these tables too: earlier rounds, other policies. Repeatable; "
        "the same GROUPS once for each reward.",
        metavar="GROUPS SCORES",
    )
    combine: Literal["sum", "normalise", "minimum", "uncertainty", "lexicographic"] = option(
        "sum",
        "How several rewards become one: their weighted sum; the sum of each standardised in its group; the smallest; "
        "their mean less their disagreement; or rewards with a --gate before those without.",
    )
    uncertainty_penalty: float | None = option(
        None, "Standard deviations to subtract from the mean, for --combine uncertainty.", ge=0.0
    )
    gate: list[str] = option(
        [], "For --combine lexicographic: NAME=THRESHOLD, what a reward must reach for later ones to count. Repeatable."
    )
    estimator: str = option(
        "grao",
        "Estimator: grao, grpo, dr-grpo, rloo, reinforce++-baseline, max-rl, gdpo, opmd, asymre, rank, best-of-n, sft, "
        "or your own as package.module:function.",
    )
    estimator_arg: list[str] = option(
        [], "Argument of the estimator as key=value, a number, e.g. delta_v=-0.2 for asymre. Repeatable."
    )
    statistics: Literal["samples_and_reference", "samples"] = option(
        "samples_and_reference", "Sequences over which the group's mean and standard deviation are taken."
    )
    reference_floor: float | None = option(
        None, "Lower clamp of the reference's advantage, e.g. 0 to never push references down."
    )
    keep_zero_variance: bool = option(
        False,
        "Keep groups whose rewards are all equal, with advantages of exactly 0, instead of masking them.",
    )
    max_rounds_behind: int | None = option(
        None, "Mask groups more than so many rounds older than the newest of the table.", ge=0
    )
    unscored: Literal["sample", "group"] = option(
        "sample", "What an unscored sample masks: itself, or its whole group."
    )
    truncated: Literal["keep", "drop", "zero"] = option(
        "keep",
        "Samples that finished by length: keep them, drop them from statistics and training, or count them and give "
        "them an advantage of 0.",
    )
    min_tokens: int | None = option(None, "Mask samples of fewer tokens.", ge=1)
    max_tokens: int | None = option(None, "Mask samples of more tokens.", ge=1)
    duplicates: Literal["keep", "drop"] = option(
        "keep", "Samples with the token ids of an earlier one of their group: keep or mask them."
    )
    max_deviations: float | None = option(
        None,
        "Mask samples whose reward is more than so many (robust) standard deviations from the group's median.",
        gt=0,
    )
    min_group_size: int | None = option(None, "Mask groups with fewer scored samples left.", ge=1)
    min_mean_reward: float | None = option(None, "Mask groups whose samples' mean reward is lower.")
    max_mean_reward: float | None = option(None, "Mask groups whose samples' mean reward is higher.")
    top_k: int | None = option(None, "Train on the so many best samples of a group, beside those of --bottom-k.", ge=1)
    bottom_k: int | None = option(None, "Train on the so many worst samples of a group, beside those of --top-k.", ge=1)
    dry_run: bool = runtime(
        False, "Write nothing: report what each filter masks and how the advantages are distributed."
    )

    def content(self) -> dict[str, Any]:
        """Work that does not use what was added later is the work that it was before, under the same fingerprint."""
        first = {"estimator", "statistics", "reference_floor", "keep_zero_variance"}
        if self.combine != "sum":
            first |= {"combine", "uncertainty_penalty", "gate"}
        fields = type(self).model_fields
        return {
            name: value
            for name, value in super().content().items()
            if name in first or getattr(self, name) != fields[name].default
        }
