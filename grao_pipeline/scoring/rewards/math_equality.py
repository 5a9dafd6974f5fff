"""`math`: 1 where the completion's answer is mathematically equal to the expected one, else 0."""

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import PositiveFloat, PositiveInt

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.plugins import require
from grao_pipeline.scoring.rewards.answer_markers import STRICT_HELP
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward, RewardRuntime
from grao_pipeline.scoring.rewards.common import DEFAULT_WORKERS, readable
from grao_pipeline.scoring.rewards.expected import NoExpectedAnswer, expected_text, unreadable
from grao_pipeline.scoring.sandbox.limited_calls import CallFailed, LimitedCalls

COMPARE = "grao_pipeline.scoring.rewards.math_answers:compare"
"""Called in other processes, which alone import sympy."""
MEMORY_MIB = 2048

if TYPE_CHECKING:
    from grao_pipeline.scoring.rewards.math_answers import Comparison


class MathEquality(Reward):
    r"""1 if the answer is mathematically equal to the expected one (`\frac{1}{2}`, `0.5`, `2/4`), else 0.

    1: the answer equals the expected one, as numbers, expressions, equations, sets, intervals or matrices; `x = 5`
    equals `5`, and `50%` equals both `50` and `0.5`. Exact numbers are compared exactly; where one side is a decimal, a
    difference of a millionth of the expected number is allowed (and at most 1e-6 from a rational number).
    0: it does not, it holds a wrong equation between numbers (`5 = 4`), or the completion has no readable answer, or
    was cut off before one (the detail says so).
    null + `error`: the metadata has no expected answer, or one that cannot be read whole (words between numbers,
    notations that the grammar does not know); or the comparison exceeded `timeout` or its memory (towers of powers do
    not hang the stage; a made-up 0 would depend on the machine).

    The answer is in the last `\boxed{}`, or follows the last answer marker (as for `gsm8k`), or comes last in the text;
    with `strict=true` only a marked one counts. A box is read whole. LaTeX needs its delimiters (`$…$`, `\(…\)`,
    `\boxed{…}`) unless the answer is an expression and nothing else. Units are ignored.
    The comparison is that of the `math-verify` package.

    Raises:
        MissingDependency: math-verify is not installed.
    """

    class Arguments(PluginArguments):
        field: str = argument("answer", "Metadata key of the expected answer.")
        strict: bool = argument(False, STRICT_HELP)
        timeout: PositiveFloat = argument(5.0, "CPU seconds per comparison.")
        workers: PositiveInt = argument(DEFAULT_WORKERS, "Processes that compare; does not change any judgement.")

    arguments: Arguments
    verifies = True

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._comparisons = LimitedCalls(COMPARE, arguments.workers, arguments.timeout, MEMORY_MIB)
        try:
            self._version = importlib.metadata.version("math-verify")
        except importlib.metadata.PackageNotFoundError:
            require("math_verify")

    def identity(self) -> Mapping[str, object]:
        arguments = self.arguments.model_dump(mode="json", exclude={"workers"})
        return {**arguments, "math_verify": self._version, "version": 3}

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        answers = [self._expected(candidate) for candidate in candidates]
        strict = self.arguments.strict
        comparisons = self._comparisons.map(
            {"expected": answer, "completion": candidate.completion, "strict": strict, "was_cut": candidate.was_cut}
            for candidate, answer in zip(candidates, answers, strict=True)
            if isinstance(answer, str)
        )
        for answer in answers:
            yield self._judgement(answer, next(comparisons)) if isinstance(answer, str) else answer.judgement()

    def close(self) -> None:
        self._comparisons.close()

    def _expected(self, candidate: Candidate) -> str | NoExpectedAnswer:
        try:
            return expected_text(candidate.metadata, self.arguments.field)
        except NoExpectedAnswer as error:
            return error

    def _judgement(self, expected: str, comparison: "Comparison | CallFailed") -> Judgement:
        if isinstance(comparison, CallFailed):
            return Judgement(None, "error", readable(comparison.reason))
        if not comparison["expected_is_readable"]:
            return unreadable(self.arguments.field, expected).judgement()
        if comparison["answer"] is None:
            return Judgement.of(0.0, comparison["problem"])
        return Judgement.of(comparison["equal"], readable(f"answer {comparison['answer']}"))
