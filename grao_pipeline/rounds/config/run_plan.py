"""What a rounds file stands for: the options of every stage in every round and variant, and where each was written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from grao_pipeline.errors import MissingDependency, UsageError
from grao_pipeline.options import StageOptions, YamlSection
from grao_pipeline.rounds.config.keep import Keep
from grao_pipeline.rounds.config.schedules import Measured
from grao_pipeline.rounds.config.until import Until
from grao_pipeline.rounds.executors.base import StageResources
from grao_pipeline.stage import load_object
from grao_pipeline.storage.places import Place

MODEL = "(the round's model)"
"""Stands for a model that is known only when the rounds run."""


@dataclass(frozen=True)
class Settings:
    """The options of one task.

    Example: `Settings(ScoreOptions(reward="gsm8k"), YamlSection("score", "rounds.yaml:8", {…}), weight=0.5)`
    """

    options: StageOptions
    source: YamlSection
    """Where they were written, for messages about them."""
    weight: float = 1.0
    """Of a reward, in the combined reward."""
    label: str = ""
    """Names one entry of a repeated stage."""
    measured: Sequence[Measured] = ()
    """Options that follow a measurement; they have the values that they begin with."""
    waits_for: str = ""
    """What they follow, where it is not known yet."""

    def check(self, place: str) -> None:
        """Call a check of the stage, `module:attribute`.

        Raises:
            UsageError, MissingDependency: with the line of what it refuses.
        """
        try:
            load_object(place)(self.options)
        except UsageError as error:
            raise UsageError(self.source.render(error.message, error.option)) from None
        except MissingDependency as error:
            raise MissingDependency(self.source.render(str(error))) from error

    @property
    def names_policy(self) -> bool:
        """Whether the options hold `${policy}`."""
        return MODEL in json.dumps(self.options.given(), ensure_ascii=False)

    def with_policy(self, place: str) -> "Settings":
        """With the place of a model for `${policy}`."""
        text = json.dumps(self.options.given(), ensure_ascii=False)
        values = json.loads(text.replace(MODEL, json.dumps(place, ensure_ascii=False)[1:-1]))
        return replace(self, options=type(self.options).model_validate(values))


@dataclass(frozen=True)
class RoundPlan:
    """One round: the settings of every stage that it runs, by the stage's name; several for a repeated stage."""

    number: int
    stages: Mapping[str, Sequence[Settings]]

    def only(self, stage: str) -> Settings | None:
        """The settings of a stage that runs once; None where it does not run."""
        settings = self.stages.get(stage, ())
        return settings[0] if settings else None


@dataclass(frozen=True)
class VariantPlan:
    """One choice of the sweep's alternatives; the only one, with an empty name, where there is no sweep.

    Attributes:
        sampling: how every model is sampled for evaluation.
    """

    name: str
    rounds: Sequence[RoundPlan]
    sampling: Settings


@dataclass(frozen=True)
class PromptsPlan:
    """Where the prompts come from: a dataset to make a table of, or finished tables."""

    source: str | None
    train: str | None
    eval: str | None
    settings: Settings


@dataclass(frozen=True)
class RunPlan:
    """A rounds file, compiled.

    Attributes:
        output: directory of links to every round's results.
        store: directory of the results themselves.
        model: the base model.
        reuse_rounds: a round trains on the groups of this many rounds, itself included.
        pool: whether a prompt's statistics are taken over these rounds' groups.
        overlap: whether a round is sampled while the one before it trains.
        until: when the rounds stop before the last one.
        keep: which models stay on the disk; None for all.
        source: where the keys of the file are written.
    """

    output: Place
    store: Place
    model: str
    reuse_rounds: int
    pool: bool
    overlap: bool
    until: Until | None
    keep: Keep | None
    executor: str
    resources: Mapping[str, StageResources]
    prompts: PromptsPlan
    variants: Sequence[VariantPlan]
    source: YamlSection
