"""One variant of a configuration: the options of every stage in every round."""

from typing import Any

from grao_pipeline.advantages.combine import check_combination
from grao_pipeline.advantages.estimators import ESTIMATORS
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.errors import UsageError
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.parsing import finite_number
from grao_pipeline.plugins import named_source
from grao_pipeline.prompts.options import CurriculumOptions
from grao_pipeline.rounds.config.schedules import section_in_round
from grao_pipeline.rounds.config.sections import parse_section
from grao_pipeline.rounds.config.sweep import PER_ROUND
from grao_pipeline.rounds.config.variables import in_round
from grao_pipeline.rounds.config.yaml_lines import Node
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Reward
from grao_pipeline.scoring.score import make_reward, reward_name
from grao_pipeline.training.objectives import OBJECTIVES
from grao_pipeline.training.options import TrainOptions

# What the loop decides itself; a section that names it contradicts the loop.
OWNED = {
    "generate": ("model", "adapter", "round", "worker", "extend"),
    "score": ("worker",),
    "advantages": ("dry_run",),
    "train": ("model", "save_adapter", "dry_run"),
    "evaluate": ("base_groups", "base_scores"),
}
MODEL = "(the round's model)"


class Variant:
    """What a configuration says of every stage; with a sweep, for one choice of its alternatives.

    Raises:
        UsageError: an option is unknown, wrong or missing in any round; the message has its line.
    """

    def __init__(self, name: str, root: Node, rounds: int) -> None:
        self.name = name
        """`beta=0.25,lambda=0.3`; empty without a sweep."""
        self._root = root
        self._rounds = rounds
        self._overrides = self._read_overrides()
        for section in ("generate", "advantages", "train", "evaluate"):
            self._refuse_owned(self._section(section), section)
        self._read_scores()
        evaluation = dict(in_round(self._section("evaluate"), None).entries("evaluate: expected options"))
        self._evaluate_generate = evaluation.pop("generate", Node({}, self._section("evaluate").where))
        self._evaluate_generate.entries("evaluate: generate: expected options of generate")
        self._refuse_owned(self._evaluate_generate, "generate")
        self.evaluate = parse_section(EvaluateOptions, Node(evaluation, self._section("evaluate").where), "evaluate")
        self.has_curriculum = "curriculum" in root.value
        for number in range(rounds):
            self.generate_options(MODEL, number)
            self._check_advantages(number)
            self._check_objective(number)
            self.curriculum_options(number)
        self.evaluation_options(MODEL)

    def generate_options(self, model: str, number: int) -> GenerateOptions:
        """How round `number` samples from `model`."""
        return parse_section(GenerateOptions, self._in_round("generate", number), "generate", model=model, round=number)

    def evaluation_options(self, model: str) -> GenerateOptions:
        """How `model` samples for evaluation: as `generate` says in round 0 without overrides, with what
        `evaluate: generate:` says on top, and the same noise for every model."""
        section = section_in_round(
            in_round(self._section("generate"), 0), GenerateOptions, "generate", 0, self._rounds
        ).updated(self._evaluate_generate.value or {})
        return parse_section(GenerateOptions, section, "evaluate: generate", model=model)

    def advantages_options(self, number: int) -> AdvantagesOptions:
        """How round `number` estimates advantages."""
        return parse_section(AdvantagesOptions, self._in_round("advantages", number), "advantages")

    def train_options(self, model: str, number: int, replays: bool = False) -> TrainOptions:
        """How `model` is trained in round `number`.

        Args:
            replays: groups of earlier rounds, which other weights sampled, are among those to train on.
        """
        given: dict[str, Any] = {"model": model} | ({"allow_off_policy": True} if replays else {})
        return parse_section(TrainOptions, self._in_round("train", number), "train", **given)

    def curriculum_options(self, number: int) -> CurriculumOptions | None:
        """How the prompts of round `number` are chosen; None if they are all taken."""
        if not self.has_curriculum:
            return None
        return parse_section(CurriculumOptions, self._in_round("curriculum", number), "curriculum")

    def _section(self, name: str) -> Node:
        found: Node = self._root.value.get(name, Node({}, self._root.where))
        return Node({}, found.where) if found.value is None else found

    def _in_round(self, name: str, number: int) -> Node:
        section = self._section(name)
        section.entries(f"{name}: expected options")
        changed = section.updated(self._overrides.get(number, {}).get(name, {}))
        return section_in_round(in_round(changed, number), PER_ROUND[name], name, number, self._rounds)

    def _read_overrides(self) -> dict[int, dict[str, dict[Any, Node]]]:
        overrides = self._section("overrides").entries(
            "overrides: expected rounds with options, e.g. {2: {train: {epochs: 2}}}"
        )
        found: dict[int, dict[str, dict[Any, Node]]] = {}
        for number, node in overrides.items():
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < self._rounds:
                raise node.error(f"overrides: {number!r} is none of the rounds, 0 to {self._rounds - 1}.")
            found[number] = {}
            for name, section in node.entries(
                "overrides: expected sections with options, e.g. train: {epochs: 2}"
            ).items():
                if name not in PER_ROUND:
                    raise section.error(
                        f"overrides: {name} cannot change between rounds. What can: {', '.join(PER_ROUND)}."
                    )
                if name == "curriculum" and name not in self._root.value:
                    raise section.error("overrides: curriculum: there is no section 'curriculum' to change.")
                self._refuse_owned(section, name)
                found[number][name] = section.entries(f"{name}: expected options")
        return found

    @staticmethod
    def _refuse_owned(section: Node, name: str) -> None:
        for key, node in section.entries(f"{name}: expected options").items():
            if key in OWNED.get(name, ()):
                raise node.error(f"{name}: '{key}' is decided by the loop; remove it.")

    def _read_scores(self) -> None:
        if "score" not in self._root.value:
            raise self._root.error("score is required: a list of rewards, e.g. [{reward: gsm8k}]")
        score = in_round(self._section("score"), None)
        entries = [score] if isinstance(score.value, dict) else score.value
        if not isinstance(entries, list) or not entries:
            raise score.error(f"score: expected a list of rewards, e.g. [{{reward: gsm8k}}], found {score.plain()!r}.")
        self.weights: list[float] = []
        self.rewards: list[tuple[ScoreOptions, Reward]] = []
        for entry in entries:
            self._refuse_owned(entry, "score")
            options = dict(entry.entries("score: expected a reward and its options"))
            self.weights.append(_weight(options.pop("weight")) if "weight" in options else 1.0)
            parsed = parse_section(ScoreOptions, Node(options, entry.where), "score")
            if reward_name(parsed) in [reward_name(other) for other, _ in self.rewards]:
                raise entry.error(
                    f"score: two rewards are named '{reward_name(parsed)}'. Give one of them another 'name'."
                )
            try:
                self.rewards.append((parsed, make_reward(parsed)))
            except UsageError as error:
                key = "reward" if "Unknown" in str(error) else "reward_arg"
                raise entry.find([key]).error(f"score: {error}") from None

    def _check_advantages(self, number: int) -> None:
        options = self.advantages_options(number)
        weights = {reward_name(o): w for (o, _), w in zip(self.rewards, self.weights, strict=True)}
        self._check("advantages", "combine", number, lambda: check_combination(options, weights))
        self._check("advantages", "estimator", number, lambda: named_source("estimator", options.estimator, ESTIMATORS))

    def _check_objective(self, number: int) -> None:
        name = self.train_options(MODEL, number).objective
        self._check("train", "objective", number, lambda: named_source("objective", name, OBJECTIVES))

    def _check(self, section: str, option: str, number: int, check: Any) -> None:
        try:
            check()
        except UsageError as error:
            raise self._in_round(section, number).find([option]).error(f"{section}: {error}") from None


def _weight(node: Node) -> float:
    value = None if isinstance(node.value, bool) else finite_number(node.value)
    if value is None:
        raise node.error(f"score: weight = {node.plain()!r}: expected a number.")
    return value
