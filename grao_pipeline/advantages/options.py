"""Options of `grao advantages`."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from grao_pipeline.options import KeyValues, option, runtime, tables
from grao_pipeline.parsing import weighted
from grao_pipeline.presets import Preset, preset_option, with_preset
from grao_pipeline.ray_cluster import RAY_ADDRESS_HELP, RayStageOptions

STABLE = {"reference_floor": 0.0}
"""What the preset `stable` sets."""


class WeightedScores(BaseModel):
    """A scores table and its weight in the combined reward, written as `PATH` or `PATH=WEIGHT`.

    Example: `WeightedScores.model_validate("scores/gsm8k=0.8")`
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    url: str
    weight: float = 1.0

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        url, weight = weighted(value, "PATH=WEIGHT")
        return {"url": url} if weight is None else {"url": url, "weight": weight}

    def __str__(self) -> str:
        return f"{self.url}={self.weight}"


class AdvantagesOptions(RayStageOptions):
    """`grao advantages`: groups + scores → advantages."""

    help_sections: ClassVar[Mapping[str, str]] = {
        "pool": "Further inputs",
        "combine": "Combining rewards",
        "estimator": "Estimator",
        "max_rounds_behind": "Filters",
        "executor": "Running",
    }
    first_options: ClassVar[tuple[str, ...]] = ("scores", "estimator", "statistics", "combine", "preset")

    preset: Preset = preset_option(STABLE)
    scores: list[WeightedScores] = tables([], "Scores table as PATH or PATH=WEIGHT. Repeatable.", metavar="TABLE")
    pool: list[tuple[str, str]] = tables(
        [],
        "Tables with more samples of the same prompts, from earlier rounds or other policies, which count in the "
        "statistics. Repeatable; with several rewards, the same GROUPS once per reward.",
        metavar="GROUPS SCORES",
    )
    feature: list[str] = tables(
        [],
        "Scores table as NAME=TABLE, of which reshapes, estimators and filters read column feature.NAME: it has no "
        "weight, and may lack scores. Repeatable.",
        metavar="NAME=TABLE",
    )
    combine: str = option(
        "sum",
        "How several rewards become one: sum, their weighted sum; normalize, the same of rewards that are standardized "
        "within the group; minimum; uncertainty, their mean minus their disagreement; lexicographic, rewards with a "
        "--gate before those without; worst-population; or your own as package.module:function.",
        plugin="combination",
    )
    combine_arg: KeyValues = option(
        [], "Argument of the combination as key=value, e.g. spread=variance for uncertainty. Repeatable."
    )
    uncertainty_penalty: float | None = option(
        None, "Standard deviations to subtract from the mean, for --combine uncertainty.", ge=0.0
    )
    gate: list[str] = option(
        [],
        "For --combine lexicographic: NAME=THRESHOLD, which the reward must reach for later rewards to count. "
        "Repeatable.",
    )
    estimator: str = option(
        "grao",
        "Estimator: grao, grpo, dr-grpo, rloo, reinforce++-baseline, max-rl, gdpo, opmd, asymre, rank, best-of-n, sft, "
        "red, copo, signed-by, hardness-scaled, gtpo, "
        "or your own as package.module:name.",
        plugin="estimator",
    )
    estimator_arg: KeyValues = option(
        [], "Argument of the estimator as key=value, e.g. delta_v=-0.2 for asymre. Repeatable."
    )
    statistics: Literal["samples_and_reference", "samples"] = option(
        "samples_and_reference", "Sequences that count in the group's mean and standard deviation."
    )
    reshape: list[str] = option(
        [],
        "Change the combined reward before the statistics: unlikely, optimal-cost, contrast-bonus, overlong, "
        "class-mean, or your own as package.module:function. Repeatable, applied in order.",
        plugin="reshape",
    )
    reshape_arg: KeyValues = option([], "Argument of a reshape as NAME.key=value, e.g. unlikely.beta=0.5. Repeatable.")
    filter: list[str] = option(
        [],
        "A further filter: indistinct, or your own as package.module:function. Repeatable, applied in order.",
        plugin="filter",
    )
    filter_arg: KeyValues = option(
        [], "Argument of such a filter as NAME.key=value, e.g. indistinct.tau=0.2. Repeatable."
    )
    token_weights: list[str] = option(
        [],
        "Weigh the tokens of samples: conflicts, top-entropy, gigpo, salt, process, items, or your own as "
        "package.module:function. Repeatable: factors are multiplied.",
        plugin="token_weight",
    )
    token_weights_arg: KeyValues = option(
        [], "Argument of such weights as NAME.key=value, e.g. top-entropy.share=0.1. Repeatable."
    )
    reference_floor: float | None = option(
        None, "Lower bound of the reference's advantage, e.g. 0 to never push references down."
    )
    keep_zero_variance: bool = option(
        False,
        "Train on groups whose rewards are all equal, with advantages of exactly 0, instead of masking them.",
    )
    max_rounds_behind: int | None = option(
        None, "Mask groups more than this many rounds older than the newest group.", ge=0
    )
    unscored: Literal["sample", "group"] = option(
        "sample", "Whether an unscored sample masks itself or its whole group."
    )
    truncated: Literal["keep", "drop", "zero"] = option(
        "keep",
        "Samples that ended at the token limit: keep them, drop them from statistics and training, or count them and "
        "set their advantage to 0.",
    )
    min_tokens: int | None = option(None, "Mask samples with fewer tokens.", ge=1)
    max_tokens: int | None = option(None, "Mask samples with more tokens.", ge=1)
    duplicates: Literal["keep", "drop"] = option(
        "keep", "Samples with the same token IDs as an earlier sample of the group: keep or mask them."
    )
    max_deviations: float | None = option(
        None,
        "Mask samples whose reward is more than this many (robust) standard deviations from the group's median.",
        gt=0,
    )
    min_group_size: int | None = option(None, "Mask groups with fewer scored samples after the previous filters.", ge=1)
    min_mean_reward: float | None = option(None, "Mask groups whose samples have a lower mean reward.")
    max_mean_reward: float | None = option(None, "Mask groups whose samples have a higher mean reward.")
    top_k: int | None = option(
        None, "Keep the K highest-reward samples per group (with --bottom-k: and the K lowest).", ge=1
    )
    bottom_k: int | None = option(
        None, "Keep the K lowest-reward samples per group (with --top-k: and the K highest).", ge=1
    )
    executor: Literal["local", "ray"] = runtime(
        "local", "Where they are computed: on this machine, or on one of a Ray cluster."
    )
    ray_address: str | None = runtime(None, RAY_ADDRESS_HELP)
    dry_run: bool = runtime(
        False, "Write nothing: print what each filter masks and how the advantages are distributed."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, values: object) -> object:
        return with_preset(values, STABLE)
