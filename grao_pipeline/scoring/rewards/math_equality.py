"""`math`: 1 where the completion's answer is mathematically equal to the expected one, else 0."""

import importlib.metadata
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypedDict

from pydantic import PositiveFloat, PositiveInt

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.plugins import require
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward, RewardRuntime
from grao_pipeline.scoring.rewards.common import DEFAULT_WORKERS, readable
from grao_pipeline.scoring.rewards.gsm8k import MARKERS
from grao_pipeline.scoring.sandbox.limited_calls import CallFailed, LimitedCalls

DELIMITERS = re.compile(r"\$|\\\(|\\\[|\\boxed|\\begin\{(?:equation|align|math)")
# In an expression without delimiters, the only words are names of functions.
WORD = re.compile(r"(?<![\\A-Za-z])(?!(?:sqrt|sin|cos|tan|cot|sec|csc|log|exp|frac|text|left|right)\b)[A-Za-z]{3,}")
TEXT = re.compile(r"\\text\{[^{}]*\}")
LONGEST_EXPRESSION = 200
MEMORY_MIB = 2048


class Comparison(TypedDict):
    """What a comparison says, as JSON."""

    expected_is_readable: bool
    equal: bool
    answer: str | None
    """The text that the answer was read from; None where it is unreadable."""


class MathEquality(Reward):
    r"""1 if the answer is mathematically equal to the expected one (`\frac{1}{2}`, `0.5`, `2/4`), else 0.

    1: the answer equals the expected one, as numbers (to 6 decimals), expressions, equations, sets, intervals or
    matrices; `x = 5` equals `5`, and `50%` equals both `50` and `0.5`.
    0: it does not, or the completion has no readable answer (the detail says so).
    null + `error`: the metadata has no expected answer or an unreadable one, or the comparison exceeded `timeout` or
    its memory (towers of powers do not hang the stage; a made-up 0 would depend on the machine).

    The answer follows the last answer marker (as for `gsm8k`), is in the last `\boxed{}`, or comes last in the text.
    LaTeX needs its delimiters (`$…$`, `\(…\)`, `\boxed{…}`) unless the answer is an expression and nothing else.
    The comparison is that of the `math-verify` package.

    Raises:
        MissingDependency: math-verify is not installed.
    """

    class Arguments(PluginArguments):
        field: str = argument("answer", "Metadata key of the expected answer.")
        timeout: PositiveFloat = argument(5.0, "CPU seconds per comparison.")
        workers: PositiveInt = argument(DEFAULT_WORKERS, "Processes that compare; does not change any judgement.")

    arguments: Arguments

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._comparisons = LimitedCalls(f"{__name__}:compare", arguments.workers, arguments.timeout, MEMORY_MIB)
        try:
            self._version = importlib.metadata.version("math-verify")
        except importlib.metadata.PackageNotFoundError:
            require("math_verify")

    def identity(self) -> Mapping[str, object]:
        arguments = self.arguments.model_dump(mode="json", exclude={"workers"})
        return {**arguments, "math_verify": self._version, "version": 1}

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        answers = [candidate.metadata.get(self.arguments.field) for candidate in candidates]
        comparisons = self._comparisons.map(
            {"expected": str(answer), "completion": candidate.completion}
            for candidate, answer in zip(candidates, answers, strict=True)
            if answer is not None
        )
        for answer in answers:
            if answer is None:
                yield Judgement(None, "error", f"metadata has no '{self.arguments.field}' to compare with")
            else:
                yield self._judgement(answer, next(comparisons))

    def close(self) -> None:
        self._comparisons.close()

    def _judgement(self, expected: object, comparison: Comparison | CallFailed) -> Judgement:
        if isinstance(comparison, CallFailed):
            return Judgement(None, "error", readable(comparison.reason))
        if not comparison["expected_is_readable"]:
            problem = f"metadata '{self.arguments.field}' cannot be parsed as math: {expected!r}"
            return Judgement(None, "error", readable(problem))
        if comparison["answer"] is None:
            return Judgement.of(0.0, "no readable answer")
        return Judgement.of(comparison["equal"], readable(f"answer {comparison['answer']}"))


def compare(expected: str, completion: str) -> Comparison:
    """Whether a completion's answer equals the expected one. It may never end or fill the memory: call it with limits.

    >>> compare("1/2", "It is $0.25$.")
    {'expected_is_readable': True, 'equal': False, 'answer': '0.25'}
    """
    from math_verify import verify

    gold, _ = _read_expected(expected)
    expressions, text = read(completion) if gold else ([], None)
    equal = bool(expressions) and bool(verify(gold, expressions, timeout_seconds=None))
    return {"expected_is_readable": bool(gold), "equal": equal, "answer": text}


def prepare() -> None:
    """Import math-verify and its grammar before the first comparison, which has a time limit."""
    from math_verify import parse

    parse("$1$", parsing_timeout=None)


def read(text: str) -> tuple[list[object], str | None]:
    """(sympy expressions, the text that they were read from) of an answer; ([], None) for an unreadable one."""
    from math_verify import parse

    for form in _forms(text.replace("\\$", "")):
        values = parse(form, parsing_timeout=None)
        expressions = [value for value in values if not isinstance(value, str)]
        if expressions:
            return expressions, next((value for value in values if isinstance(value, str)), form)
    return [], None


def _forms(text: str) -> Iterator[str]:
    """The texts to read, most likely first: the text after the last marker, then the whole text."""
    marked = _after_last_marker(text)
    if marked:
        if is_bare_expression(marked):
            yield f"${as_latex(marked)}$"
        yield f"The answer is {marked}"  # the marker that math-verify knows
    if is_bare_expression(text.strip()):
        yield f"${as_latex(text.strip())}$"
    yield text


def is_bare_expression(text: str) -> bool:
    """Whether a text is one expression without LaTeX delimiters: `x^2 + 1`, but not `18 apples`."""
    short = 0 < len(text) <= LONGEST_EXPRESSION and "\n" not in text
    return short and DELIMITERS.search(text) is None and WORD.search(TEXT.sub("", text)) is None


def as_latex(text: str) -> str:
    r"""Converts the notations that people type instead of LaTeX.

    >>> [as_latex(text) for text in ("2*pi**2", "3 1/2", "1e5")]
    ['2*\\pi^2', '3\\frac{1}{2}', '1 \\times 10^{5}']
    """
    text = re.sub(r"(?<![\\A-Za-z])pi\b", r"\\pi", text.replace("**", "^"))
    text = re.sub(r"\b(\d+) (\d+)/(\d+)\b", r"\1\\frac{\2}{\3}", text)
    return re.sub(r"(?<=[\d.])[eE]([+-]?\d+)\b", r" \\times 10^{\1}", text)


def _after_last_marker(text: str) -> str:
    """The rest of the line after the last answer marker; empty without a marker, and for a box, which needs none."""
    markers = list(MARKERS.finditer(text))
    if not markers or markers[-1][0].startswith("\\boxed"):
        return ""
    line = text[markers[-1].end() :].partition("\n")[0]
    return line.strip().removesuffix(".")


@lru_cache(maxsize=1024)
def _read_expected(expected: str) -> tuple[list[object], str | None]:
    """Cached, since the samples of a group share their expected answer."""
    return read(expected)
