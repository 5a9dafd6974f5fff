"""`length`: how near the completion's length is to a target, from 1 (met) down to 0."""

from collections.abc import Mapping, Sequence
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, take_arguments

UNITS = {"words": lambda text: len(text.split()), "characters": len}


class Length:
    """max(0, 1 − |n − target| / target), n the completion's length.

    Arguments: target (required, a positive whole number), unit (words, or characters).

    Raises:
        UsageError: an argument has another form.
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        taken = take_arguments("length", arguments, target=None, unit="words")
        if not taken["target"].isdecimal() or int(taken["target"]) < 1:
            raise UsageError(f"--reward-arg target={taken['target']}: reward 'length' needs a positive whole number.")
        if taken["unit"] not in UNITS:
            raise UsageError(f"--reward-arg unit={taken['unit']}: reward 'length' knows {', '.join(UNITS)}.")
        self._target = int(taken["target"])
        self._unit = taken["unit"]

    def identity(self) -> Mapping[str, Any]:
        return {"target": self._target, "unit": self._unit}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(UNITS[self._unit](candidate.completion)) for candidate in candidates]

    def _judge(self, length: int) -> Judgement:
        reward = max(0.0, 1.0 - abs(length - self._target) / self._target)
        return Judgement.of(reward, f"{length} {self._unit}")
