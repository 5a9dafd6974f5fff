"""The rounds' YAML: a few keys of its own, and one section per stage with that stage's options."""

import math
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from grao_pipeline.advantages.combine import check_combination
from grao_pipeline.config import (
    AdvantagesOptions,
    EvaluateOptions,
    GenerateOptions,
    PromptsOptions,
    ScoreOptions,
    StageOptions,
    TrainOptions,
    parse_options,
)
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.rounds.executors.base import read_resources
from grao_pipeline.scoring.score import reward_name

# What the loop decides itself; a section that names it contradicts the loop.
OWNED = {
    "generate": ("model", "adapter", "round", "worker", "extend"),
    "score": ("worker",),
    "train": ("model", "save_adapter", "dry_run"),
    "evaluate": ("base_groups", "base_scores"),
}


class _Keys(StageOptions):
    """The YAML's own keys; sections are checked one by one afterwards, so that errors name them."""

    output: str = Field(description="Directory of the run: links to every round's results.")
    model: str = Field(description="The base model: a directory or hub id.")
    rounds: int = Field(1, ge=1, description="Number of rounds.")
    store: str | None = Field(None, description="Directory of the stages' outputs; OUTPUT/store by default.")
    executor: Literal["local", "ray"] = Field("local", description="Where the stages run.")
    resources: dict[str, Any] = Field(default_factory=dict, description="Of each stage, for executor: ray.")
    prompts: dict[str, Any] = Field(description="source: a dataset, or train: and eval: prompts tables; and options.")
    generate: dict[str, Any] = Field(default_factory=dict)
    score: list[dict[str, Any]] = Field(min_length=1)
    advantages: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    evaluate: dict[str, Any] = Field(default_factory=dict)


class RoundsConfig:
    """A validated rounds configuration.

    Raises:
        UsageError: an option is unknown, wrong or missing; the message names the section and the option.
    """

    def __init__(self, values: dict[str, Any], where: str) -> None:
        values = dict(values)
        for section in ("generate", "advantages", "train", "evaluate"):
            values[section] = {} if values.get(section) is None else values[section]  # an empty section
        if isinstance(values.get("score"), dict):
            values["score"] = [values["score"]]
        keys = parse_options(_Keys, values, where)
        self.output = Path(keys.output)
        self.store = Path(keys.store) if keys.store else self.output / "store"
        self.rounds = keys.rounds
        self.model = keys.model
        self.executor = keys.executor
        self.resources = read_resources(keys.resources, keys.executor, where)
        for section, names in OWNED.items():
            given = getattr(keys, section)
            for name in names:
                if any(name in entry for entry in (given if isinstance(given, list) else [given])):
                    raise UsageError(f"{where}: {section}: '{name}' is decided by the loop; remove it.")
        self._read_prompts(dict(keys.prompts), where)
        evaluation = dict(keys.evaluate)
        overrides = evaluation.pop("generate", None) or {}
        if not isinstance(overrides, dict):
            raise UsageError(f"{where}: evaluate: generate: expected options of generate, found {overrides!r}.")
        self._generate = keys.generate
        self._evaluate_generate = {**keys.generate, **overrides}
        self._train = keys.train
        self.evaluate = parse_options(EvaluateOptions, evaluation, f"{where}: evaluate")
        self.advantages = parse_options(AdvantagesOptions, keys.advantages, f"{where}: advantages")
        self.weights = [_weight(score.get("weight", 1.0), where) for score in keys.score]
        self.scores = [
            parse_options(ScoreOptions, {k: v for k, v in score.items() if k != "weight"}, f"{where}: score")
            for score in keys.score
        ]
        named = [reward_name(score) for score in self.scores]
        repeated = sorted({name for name in named if named.count(name) > 1})
        if repeated:
            raise UsageError(f"{where}: score: two rewards are named '{repeated[0]}'. Give one of them another 'name'.")
        try:
            check_combination(self.advantages, dict(zip(named, self.weights, strict=True)))
        except UsageError as error:
            raise UsageError(f"{where}: advantages: {error}") from None
        self._where = where
        self.generate_options(self.model, 0)
        self.evaluation_options(self.model)
        self.train_options(self.model)

    def generate_options(self, model: str, round_number: int) -> GenerateOptions:
        """How round `round_number` samples from `model`."""
        values = {**self._generate, "model": model, "round": round_number}
        return parse_options(GenerateOptions, values, f"{self._where}: generate")

    def evaluation_options(self, model: str) -> GenerateOptions:
        """How `model` samples for evaluation: as in the rounds, with `evaluate: generate:` on top; the same noise for
        every model."""
        values = {**self._evaluate_generate, "model": model}
        return parse_options(GenerateOptions, values, f"{self._where}: evaluate: generate")

    def train_options(self, model: str) -> TrainOptions:
        """How `model` is trained."""
        return parse_options(TrainOptions, {**self._train, "model": model}, f"{self._where}: train")

    def _read_prompts(self, section: dict[str, Any], where: str) -> None:
        self.prompts_source = section.pop("source", None)
        self.train_prompts = section.pop("train", None)
        self.eval_prompts = section.pop("eval", None)
        if (self.prompts_source is None) == (self.train_prompts is None):
            raise UsageError(f"{where}: prompts: give either 'source' (a dataset) or 'train' (a prompts table).")
        self.prompts = parse_options(PromptsOptions, section, f"{where}: prompts")


def _weight(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{where}: score: weight = {value!r}: expected a number.")
    return float(value)


def load_config(path: str) -> RoundsConfig:
    """Read a rounds configuration.

    Raises:
        InputError: the file cannot be read or is not YAML.
        UsageError: it is not a valid configuration.
    """
    try:
        values = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected keys such as output, model, prompts; found {values!r}.")
    return RoundsConfig(values, path)
