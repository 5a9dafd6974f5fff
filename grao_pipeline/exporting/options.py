"""Options of `grao export`."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from grao_pipeline.options import StageOptions, option, runtime, tables


class ExportOptions(StageOptions):
    """`grao export`: groups + rewards → a file of another trainer."""

    help_sections: ClassVar[Mapping[str, str]] = {
        "pair": "Preference pairs",
        "best": "Best of n, and labels",
        "answer_field": "Prompts for reinforcement learning",
        "overwrite": "Output",
    }

    format: str = option(
        "preference",
        "preference (TRL's DPOTrainer), sft, kto, flat (a row per sequence), openrlhf or verl (prompts).",
        plugin="export",
    )
    scores: str | None = tables(None, "Scores of these groups: their rewards.", metavar="TABLE")
    advantages: str | None = tables(
        None,
        "Advantages of these groups instead: the combined rewards; samples that a filter masked are left out.",
        metavar="TABLE",
    )
    pair: Literal["best-worst", "reference-worst", "reference-rejected"] = option(
        "best-worst",
        "Chosen and rejected: the samples with the highest and the lowest reward; the reference and the sample with "
        "the lowest reward; the reference and the dataset's rejected answer.",
    )
    min_margin: float = option(
        0.0, "Leave out pairs whose rewards differ by this or less. Pairs of equal rewards are always left out.", ge=0.0
    )
    best: int = option(1, "For sft: this many different samples of a group, the best first.", ge=1, le=100_000)
    min_reward: float | None = option(None, "For sft: leave out samples with a lower reward.")
    threshold: float | None = option(
        None,
        "For kto: a sample with this reward or more is desirable; by default one above the mean of its group, and a "
        "sample whose reward is that mean is left out.",
    )
    answer_field: str = option("answer", "Field of the metadata that a verifier of the other trainer needs.")
    data_source: str | None = option(
        None, "Name by which verl and OpenRLHF choose a reward; by default metadata.data_source, else grao."
    )
    overwrite: bool = runtime(False, "Replace an OUT that holds something else.")

    @model_validator(mode="after")
    def _one_source_of_rewards(self) -> Self:
        if self.scores is not None and self.advantages is not None:
            raise ValueError("give --scores or --advantages, not both: advantages hold the combined rewards")
        return self
