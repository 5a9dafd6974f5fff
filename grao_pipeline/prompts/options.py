"""Options of `grao prompts` and `grao curriculum`."""

from typing import Literal, Self

from pydantic import model_validator

from grao_pipeline.options import StageOptions, option, runtime, tables

Format = Literal["auto", "hh", "preference", "prompt-completion", "messages", "question-answer"]


class PromptsOptions(StageOptions):
    """`grao prompts`: any dataset → prompts."""

    format: Format = option("auto", "Format of the rows; found from the columns by default.")
    split: str = option("train", "Split to read, where the source has splits.")
    subset: str | None = option(None, "Configuration of a hub dataset that has several.")
    limit: int | None = option(None, "Read at most this many rows.", ge=1)
    map: list[str] = option([], "Rename a column before the format is applied: column=field. Repeatable.")
    system: str | None = option(None, "System message to put before every conversation that has none.")
    eval_fraction: float = option(
        0.0, "Share of prompts that goes, by hash, to OUT/eval; the rest goes to OUT/train.", ge=0.0, lt=1.0
    )
    rejects: str | None = runtime(None, "Write every dropped row, with its reason, to this JSONL file.")


class CurriculumOptions(StageOptions):
    """`grao curriculum`: prompts + groups and scores of earlier rounds → the prompts of the next round."""

    history: list[tuple[str, str]] = tables(
        [],
        "An earlier round's groups and their scores, or their advantages, which hold the combined reward. Repeatable, "
        "oldest first.",
        metavar="GROUPS SCORES",
    )
    num_prompts: int | None = option(None, "Prompts to choose; by default all that are not retired.", ge=1)
    fraction: float | None = option(
        None, "Share to choose of the prompts that are not retired, instead of a number.", gt=0.0, le=1.0
    )
    uniform_mix: float = option(
        0.2,
        "Share of a prompt's chance that does not depend on its reward variance; 1 draws all alike.",
        ge=0.0,
        le=1.0,
    )
    retire_above: float = option(1.0, "Leave out prompts whose samples' mean reward is this or more: they are solved.")
    retire_below: float | None = option(
        None, "Leave out prompts whose samples' mean reward is this or less: they are hopeless."
    )
    seed: int = option(0, "Seed of the draw, which also depends on the newest round of the history.", ge=0)

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.num_prompts is not None and self.fraction is not None:
            raise ValueError("give --num-prompts or --fraction, not both")
        if self.retire_below is not None and self.retire_below >= self.retire_above:
            raise ValueError(
                f"--retire-below {self.retire_below:g} must be less than --retire-above {self.retire_above:g}"
            )
        return self
