"""Groups with all that belongs to them: their scores, their advantages, and how a training weighs their samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from grao_pipeline.report.outputs import Output

COMBINED = "combined"
"""Name of the reward that the advantages were computed from."""


@dataclass(frozen=True)
class Weighing:
    """What GRAO's objective weighs sequences with (see training/objectives/grao.py).

    Attributes:
        training: name of the training.
    """

    training: str
    beta: float
    lambda_: float
    exploration: float = 1.0

    def weights(
        self, advantages: Sequence[float | None], reference: float | None
    ) -> tuple[list[float | None], float | None]:
        """(w_i of each sample, w_y of the reference) in J; None for what is not trained on.

        Args:
            advantages: Â_i; None for a sample that is not trained on.
            reference: Â_y.
        """
        trained = [value for value in advantages if value is not None]
        size = max(len(trained), 1)
        factor = (self.exploration + (0.0 if reference is None else self.lambda_)) / size
        samples = [None if value is None else factor * value for value in advantages]
        return samples, None if reference is None else self.beta * reference - self.lambda_ * sum(trained) / size


@dataclass(frozen=True)
class GroupSet:
    """A groups table and its companions.

    Attributes:
        key: its name, unique in a run.
        purpose: `training` or `evaluation`; empty where that is not known.
        scores: by the name of the reward.
        previous: key of the set of the round before, of the same purpose.
    """

    key: str
    groups: Output
    scores: dict[str, Output] = field(default_factory=dict)
    advantages: Output | None = None
    weighing: Weighing | None = None
    variant: str = ""
    round: int | None = None
    purpose: str = ""
    previous: str | None = None

    @property
    def label(self) -> str:
        """For people, e.g. `round 1 · training`."""
        if self.round is None:
            return self.groups.label
        model = "base model" if self.round < 0 else f"round {self.round}"
        return " · ".join(part for part in (self.variant, model, self.purpose) if part)

    @property
    def tables(self) -> list[Output]:
        """All of them."""
        return [self.groups, *self.scores.values(), *([self.advantages] if self.advantages else [])]

    @property
    def rewards(self) -> list[str]:
        """The names of the rewards, the combined one first where there are advantages."""
        names = list(self.scores)
        return [COMBINED, *names] if self.advantages and len(names) != 1 else names


def group_sets(outputs: Sequence[Output]) -> list[GroupSet]:
    """The groups among the outputs with the scores, advantages and trainings that were made from them."""
    sets: list[GroupSet] = []
    for groups in outputs:
        if groups.kind != "groups":
            continue
        companions = [output for output in outputs if output.input("groups") == groups.fingerprint != ""]
        scores = scores_by_reward([output for output in companions if output.kind == "scores"])
        advantages = [output for output in companions if output.kind == "advantages"]
        chosen: list[Output | None] = [*advantages] or [None]
        sets += [_set(groups, scores, one, outputs, is_only=len(chosen) == 1) for one in chosen]
    return _in_order(sets)


def scores_by_reward(tables: Sequence[Output]) -> dict[str, Output]:
    """Scores tables by the name of their reward; equal names are told apart by the fingerprint."""
    named: dict[str, Output] = {}
    for table in tables:
        options = table.provenance.options if table.provenance else {}
        name = str(options.get("name") or str(options.get("reward", table.task)).rpartition(":")[2])
        named[f"{name} {table.fingerprint[:6]}" if name in named else name] = table
    return named


def _set(
    groups: Output, scores: dict[str, Output], advantages: Output | None, outputs: Sequence[Output], is_only: bool
) -> GroupSet:
    named = groups if is_only or advantages is None else advantages
    purpose = ""
    if groups.round is not None:
        purpose = "evaluation" if groups.task.startswith("evaluate") else "training"
    trainings = [
        output
        for output in outputs
        if advantages and output.kind == "model" and output.input("advantages") == advantages.fingerprint
    ]
    return GroupSet(
        groups.name if is_only or advantages is None else f"{groups.name} + {advantages.name}",
        groups,
        scores,
        advantages,
        _weighing(trainings[0]) if trainings else None,
        named.variant,
        named.round,
        purpose,
    )


def _weighing(training: Output) -> Weighing | None:
    """None for other objectives: their weights are not a function of the advantages alone."""
    options = training.provenance.options if training.provenance else {}
    if options.get("objective") != "grao" or options.get("correction", "none") != "none":
        return None
    given = dict(str(text).partition("=")[::2] for text in options.get("objective_arg", []))
    return Weighing(
        training.name, float(options["beta"]), float(options["lambda_"]), float(given.get("exploration", 1.0))
    )


def _in_order(sets: Sequence[GroupSet]) -> list[GroupSet]:
    """By variant, purpose and round; each with the set of the round before: of its variant, or one that all share."""
    ordered = []
    for one in sorted(sets, key=lambda one: (one.variant, one.purpose, one.round or 0)):
        earlier = [
            other
            for other in sets
            if one.round is not None
            and other.round is not None
            and other.round < one.round
            and other.purpose == one.purpose
            and other.variant in (one.variant, "")
        ]
        newest = max(earlier, key=lambda other: (other.round or 0, bool(other.variant)), default=None)
        ordered.append(replace(one, previous=newest.key if newest else None))
    return ordered
