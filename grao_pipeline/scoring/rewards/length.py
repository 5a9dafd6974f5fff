"""`length`: how near the completion's length is to a target, from 1 (met) down to 0."""

from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveInt

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward


class Length(Reward):
    """1 at the target length, falling linearly to 0: max(0, 1 − |n − target| / target) for a completion of length n."""

    class Arguments(PluginArguments):
        target: PositiveInt = argument(..., "Length that gets the highest reward.", examples=[200])
        unit: Literal["words", "characters"] = argument("words", "Unit of the length.")

    arguments: Arguments

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate.completion) for candidate in candidates]

    def _judge(self, text: str) -> Judgement:
        target, unit = self.arguments.target, self.arguments.unit
        length = len(text.split()) if unit == "words" else len(text)
        return Judgement.of(max(0.0, 1.0 - abs(length - target) / target), f"{length} {unit}")
