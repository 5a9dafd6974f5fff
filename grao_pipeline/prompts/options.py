"""Options of `grao prompts`, `grao curriculum`, `grao resample` and `grao minibatch`."""

from typing import Literal, Self

from pydantic import JsonValue, model_validator

from grao_pipeline.options import KeyValues, StageOptions, option, runtime, tables

SUCCESS_HELP = "The reward of a success, for what counts successes."


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
    )
    rewrite_arg: list[str] = option([], "Argument of the rewrite as key=value, e.g. share=0.3. Repeatable.")
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
    priority: str = option(
        "variance",
        "What a prompt's chance is proportional to, by its rewards in earlier rounds: variance; cures or vas, of the "
        "papers; or your own as package.module:function.",
        plugin="priority",
    )
    priority_arg: KeyValues = option([], "Argument of the priority as key=value, e.g. tau=0.1 for cures. Repeatable.")
    uniform_mix: float = option(
        0.2,
        "Share of a prompt's chance that does not depend on its priority; 1 makes all chances equal.",
        ge=0.0,
        le=1.0,
    )
    retire_above: float = option(1.0, "Retire prompts with this mean reward or more: they are solved.")
    retire_below: float | None = option(None, "Retire prompts with this mean reward or less: they are hopeless.")
    budget: str | None = option(
        None,
        "How the samples are shared out among the chosen prompts: knapsack, spread, failed, or your own as "
        "package.module:function; by default all prompts have the same number.",
        plugin="budget",
    )
    budget_arg: KeyValues = option([], "Argument of the budget as key=value, e.g. least=4 for knapsack. Repeatable.")
    samples: int | None = option(
        None,
        "Samples of a prompt on average, which --budget shares out; in the rounds those of generate.",
        ge=1,
    )
    success_threshold: float = option(0.5, SUCCESS_HELP)
    seed: int = option(0, "Seed of the drawing, which also depends on the newest round of the history.", ge=0)

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.budget is None and (self.samples is not None or self.budget_arg):
            raise ValueError("--samples and --budget-arg have no effect without --budget")
        if self.num_prompts is not None and self.fraction is not None:
            raise ValueError("give --num-prompts or --fraction, not both")
        if self.retire_below is not None and self.retire_below >= self.retire_above:
            raise ValueError(
                f"--retire-below {self.retire_below:g} must be less than --retire-above {self.retire_above:g}"
            )
        return self


class ResampleOptions(StageOptions):
    """`grao resample`: prompts + their groups and scores → what to sample further."""

    until: Literal["variance", "success"] = option(
        "variance",
        "What a group needs to have a learning signal: variance, rewards that are not all equal; success, a sample "
        "with --success-threshold.",
    )
    success_threshold: float = option(0.5, SUCCESS_HELP)
    samples: int | None = option(
        None, "New samples of every prompt that is sampled; in the rounds those of generate.", ge=1
    )
    replace: bool = option(
        False, "Instead of prompts without a learning signal, sample as many of PROMPTS that have no group yet."
    )
    most_samples: int | None = option(
        None, "Most samples of all groups together, those that are there included; by default there is no limit.", ge=1
    )
    attempts: int = runtime(3, "Passes of further sampling; after the last one nothing more is asked for.", ge=1)
    attempt: int = runtime(0, "Passes that were made already.", ge=0)
    seed: int = option(0, "Seed of the order in which prompts are taken.", ge=0)

    def content(self) -> dict[str, JsonValue]:
        """With whether the attempts are over, rather than their number: another number of them keeps those made."""
        return super().content() | {"is_over": self.attempt >= self.attempts}


class MinibatchOptions(StageOptions):
    """`grao minibatch`: prompts → the prompts of one round, of a walk through all of them."""

    prompts_per_round: int = option(..., "Prompts that a round takes.", ge=1)
    round: int = option(0, "Number of the round, from 0: how far the walk is.", ge=0)
    seed: int = option(0, "Seed of the order, another one in each pass through the prompts.", ge=0)
