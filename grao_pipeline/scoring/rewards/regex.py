"""`regex`: 1 where a pattern matches the completion, else 0."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import AfterValidator, PositiveFloat

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward, RewardRuntime
from grao_pipeline.scoring.rewards.common import readable
from grao_pipeline.scoring.sandbox import pattern_search
from grao_pipeline.scoring.sandbox.limited_calls import CallFailed, LimitedCalls

MEMORY_MIB = 1024


def regular_expression(pattern: str) -> str:
    """Raises ValueError where `pattern` is not a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    return pattern


class Regex(Reward):
    """1 if a Python regular expression matches the completion, else 0; `.` also matches line breaks.

    null + `error`: a search exceeded `timeout`; some patterns, e.g. `(a+)+$`, never end on some texts.
    """

    class Arguments(PluginArguments):
        pattern: Annotated[str, AfterValidator(regular_expression)] = argument(
            ..., "Regular expression to search for, e.g. `^Yes`.", examples=["^Yes"]
        )
        full: bool = argument(False, "The whole stripped completion must match, instead of any part of it.")
        timeout: PositiveFloat = argument(2.0, "CPU seconds per search.")

    arguments: Arguments

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._searches = LimitedCalls(f"{pattern_search.__name__}:matches", 1, arguments.timeout, MEMORY_MIB)

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        pattern, full = self.arguments.pattern, self.arguments.full
        texts = (candidate.completion for candidate in candidates)
        for outcome in self._searches.map({"pattern": pattern, "full": full, "text": text} for text in texts):
            if isinstance(outcome, CallFailed):
                yield Judgement(None, "error", readable(outcome.reason))
            else:
                yield Judgement.of(outcome)

    def close(self) -> None:
        self._searches.close()
