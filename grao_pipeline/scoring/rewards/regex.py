"""`regex`: 1 where a pattern matches the completion, else 0."""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward, RewardRuntime


def regular_expression(pattern: str) -> str:
    """Raises ValueError where `pattern` is not a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    return pattern


class Regex(Reward):
    """1 if a Python regular expression matches the completion, else 0; `.` also matches line breaks."""

    class Arguments(PluginArguments):
        pattern: Annotated[str, AfterValidator(regular_expression)] = argument(
            ..., "Regular expression to search for, e.g. `^Yes`."
        )
        full: bool = argument(False, "The whole stripped completion must match, instead of any part of it.")

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._pattern = re.compile(arguments.pattern, re.DOTALL)
        self._full = arguments.full

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [Judgement.of(self._matches(candidate.completion)) for candidate in candidates]

    def _matches(self, text: str) -> bool:
        match = self._pattern.fullmatch(text.strip()) if self._full else self._pattern.search(text)
        return match is not None
