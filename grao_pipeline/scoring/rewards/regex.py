"""`regex`: 1 where a pattern is found in the completion, else 0."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, parse_boolean, take_arguments


class Regex:
    """Searches the completion for a Python regular expression (`.` matches line breaks).

    Arguments: pattern (required), full (false: search; true: the whole stripped completion must match).

    Raises:
        UsageError: the pattern is not a regular expression.
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        taken = take_arguments("regex", arguments, pattern=None, full="false")
        self._full = parse_boolean("regex", "full", taken["full"])
        try:
            self._pattern = re.compile(taken["pattern"], re.DOTALL)
        except re.error as error:
            raise UsageError(f"--reward-arg pattern={taken['pattern']}: not a regular expression ({error}).") from error

    def identity(self) -> Mapping[str, Any]:
        return {"pattern": self._pattern.pattern, "full": self._full}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [Judgement.of(float(self._matches(candidate.completion))) for candidate in candidates]

    def _matches(self, text: str) -> bool:
        found = self._pattern.fullmatch(text.strip()) if self._full else self._pattern.search(text)
        return found is not None
