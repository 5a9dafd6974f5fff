"""The reward from a reward model's outputs: one of them, or a weighted sum."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from grao_pipeline.errors import UsageError
from grao_pipeline.parsing import finite_number


@dataclass(frozen=True)
class Output:
    """The reward as a weighted sum of logits.

    Example: `Output(("helpfulness", "verbosity"), {"helpfulness": 0.8, "verbosity": -0.2})`
    """

    names: tuple[str, ...]
    """The model's outputs, in order."""
    weights: dict[str, float]

    def reward(self, logits: Sequence[float]) -> float:
        """Args: logits: one per output. [num_labels]"""
        values = dict(zip(self.names, logits, strict=True))
        return sum(weight * values[name] for name, weight in self.weights.items())

    def detail(self, logits: Sequence[float]) -> str | None:
        """Every output's value as JSON, to six digits; None for a model with one output, whose value is the reward."""
        if len(self.names) == 1:
            return None
        values = [float(f"{logit:.6g}") if math.isfinite(logit) else None for logit in logits]
        return json.dumps(dict(zip(self.names, values, strict=True)), separators=(",", ":"), ensure_ascii=False)


def parse_output(chosen: str, names: Sequence[str], model: str) -> Output:
    """The output that the argument `output` names.

    Args:
        chosen: a name, or `name:weight,name:weight`; empty where the model has only one output.
        names: the model's outputs: the values of its config's `id2label`.
        model: the model's name, for messages.

    Raises:
        UsageError: nothing is chosen from several outputs, the choice contains an unknown output or a wrong weight, or
            two outputs of the model have the same name.
    """
    if len(set(names)) < len(names):
        raise UsageError(f"{model} has several outputs of one name ({', '.join(names)}). Correct its id2label.")
    if not chosen and len(names) == 1:
        return Output(tuple(names), {names[0]: 1.0})
    if not chosen:
        raise UsageError(
            f"{model} has {len(names)} outputs: {', '.join(names)}. Say which is the reward with output=NAME, or give "
            "a weighted sum: output=NAME:WEIGHT,NAME:WEIGHT.",
            option="reward_arg",
        )
    if chosen in names:
        return Output(tuple(names), {chosen: 1.0})
    weights: dict[str, float] = {}
    for term in chosen.split(","):
        name, weight = _term(term.strip(), names)
        if name not in names:
            raise UsageError(
                f"output={chosen}: {model} has no output '{name}'. It has: {', '.join(names)}.", option="reward_arg"
            )
        if name in weights:
            raise UsageError(f"output={chosen}: '{name}' is given twice.", option="reward_arg")
        weights[name] = _number(weight, chosen)
    return Output(tuple(names), weights)


def _term(term: str, names: Sequence[str]) -> tuple[str, str]:
    """(name, weight); a name may contain a colon."""
    if term in names or ":" not in term:
        return term, "1"
    name, _, weight = term.rpartition(":")
    return name, weight


def _number(weight: str, chosen: str) -> float:
    number = finite_number(weight)
    if number is None:
        raise UsageError(f"output={chosen}: the weight '{weight}' is not a number.", option="reward_arg")
    return number
