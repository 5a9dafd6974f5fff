"""Options of `grao prompts`, `grao curriculum` and `grao minibatch`."""

from typing import Self

from pydantic import model_validator

from grao_pipeline.options import StageOptions, option, runtime, tables


class SourceOptions(StageOptions):
    """What `grao prompts` and `grao import` share: which rows of a source are read, and how columns are named."""

    split: str = option("train", "Split to read, if the source has several.")
    subset: str | None = option(None, "Configuration to read, if a hub dataset has several.")
    revision: str | None = runtime(
        None, "Branch, tag or commit of a hub dataset, like SOURCE@REVISION; by default the newest commit."
    )
    limit: int | None = option(None, "Read at most this many rows.", ge=1)
    sample: int | None = option(None, "Read a random subset of this many rows, in the source's order.", ge=1)
    seed: int = option(0, "Seed of --sample.", ge=0)
    map: list[str] = option(
        [],
        "Rename a column before a row is read: column=field. A dotted column such as reward_model.ground_truth copies "
        "a nested value. Repeatable.",
    )
    rejects: str | None = runtime(None, "Write every dropped row, with its reason, to this JSONL file.")


class PromptsOptions(SourceOptions):
    """`grao prompts`: any dataset → prompts."""

    format: str = option(
        "auto",
        "Format of the rows, which `grao plugins list --kind format` lists, or module:function of your own; by default "
        "the one that fits the columns.",
        plugin="format",
    )
    rewrite: str | None = option(
        None,
        "Change every prompt before it is written, or drop it: thought-dropout, or module:function of your own.",
        plugin="rewrite",
        added=True,
    )
    rewrite_arg: list[str] = option([], "Argument of the rewrite as key=value, e.g. share=0.3. Repeatable.", added=True)
    system: str | None = option(None, "System message to put before every conversation without one.")
    eval_fraction: float = option(
        0.0, "Share of prompts to write, by hash, to OUT/eval; the others are written to OUT/train.", ge=0.0, lt=1.0
    )


class CurriculumOptions(StageOptions):
    """`grao curriculum`: prompts + groups and scores of earlier rounds → the prompts of the next round."""

    history: list[tuple[str, str]] = tables(
        [],
        "The groups of an earlier round and their scores, or their advantages for the combined reward. Repeatable, the "
        "oldest round first.",
        metavar="GROUPS SCORES",
    )
    num_prompts: int | None = option(None, "Number of prompts to choose; by default all that are not retired.", ge=1)
    fraction: float | None = option(
        None, "Share of the prompts that are not retired to choose, instead of a number.", gt=0.0, le=1.0
    )
    uniform_mix: float = option(
        0.2,
        "Share of a prompt's chance that does not depend on the variance of its rewards; 1 makes all chances equal.",
        ge=0.0,
        le=1.0,
    )
    retire_above: float = option(1.0, "Retire prompts with this mean reward or more: they are solved.")
    retire_below: float | None = option(None, "Retire prompts with this mean reward or less: they are hopeless.")
    seed: int = option(0, "Seed of the drawing, which also depends on the newest round of the history.", ge=0)

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.num_prompts is not None and self.fraction is not None:
            raise ValueError("give --num-prompts or --fraction, not both")
        if self.retire_below is not None and self.retire_below >= self.retire_above:
            raise ValueError(
                f"--retire-below {self.retire_below:g} must be less than --retire-above {self.retire_above:g}"
            )
        return self


class MinibatchOptions(StageOptions):
    """`grao minibatch`: prompts → the prompts of one round, of a walk through all of them."""

    prompts_per_round: int = option(..., "Prompts that a round takes.", ge=1)
    round: int = option(0, "Number of the round, from 0: how far the walk is.", ge=0)
    seed: int = option(0, "Seed of the order, another one in each pass through the prompts.", ge=0)
