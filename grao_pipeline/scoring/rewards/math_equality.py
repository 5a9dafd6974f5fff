"""`math`: 1 where the completion's answer is mathematically equal to the expected one, else 0."""

import importlib.metadata
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from grao_pipeline.plugins import require
from grao_pipeline.scoring.rewards.arguments import default_workers, positive_integer, positive_number, readable
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, take_arguments
from grao_pipeline.scoring.rewards.gsm8k import MARKERS
from grao_pipeline.scoring.sandbox.limited_calls import CallFailed, LimitedCalls

DELIMITERS = re.compile(r"\$|\\\(|\\\[|\\boxed|\\begin\{(?:equation|align|math)")
# An expression written without delimiters has no words but the names of functions.
WORD = re.compile(r"(?<![\\A-Za-z])(?!(?:sqrt|sin|cos|tan|cot|sec|csc|log|exp|frac|text|left|right)\b)[A-Za-z]{3,}")
TEXT = re.compile(r"\\text\{[^{}]*\}")
LONGEST_EXPRESSION = 200
MEMORY_MIB = 2048


class MathEquality:
    r"""Compares with `metadata[field]` through the `math-verify` package: `\frac{1}{2}`, `0.5` and `2/4` are equal.

    1: the answer equals the expected one, as numbers (to 6 decimals), expressions, equations, sets, intervals or
    matrices; `x = 5` equals `5`, and `50%` equals both `50` and `0.5`.
    0: it does not, or the completion holds no answer that can be read (the detail says so).
    null + `error`: nothing to compare with, the expected answer cannot be read, or the comparison took longer than
    `timeout` or died (towers of powers do not hang the stage; a made-up 0 would depend on the machine).

    The answer is what stands behind the last answer marker (as for `gsm8k`), in the last `\boxed{}`, or last in the
    text. LaTeX needs its delimiters (`$…$`, `\(…\)`, `\boxed{…}`) unless the answer is an expression and nothing else.

    Arguments: field (answer), timeout (5): seconds of CPU time per comparison; workers (the machine's cores, at most
    8): processes that compare, which change no judgement.

    Raises:
        MissingDependency: math-verify is not installed.
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        taken = take_arguments("math", arguments, field="answer", timeout="5", workers=default_workers())
        self._field = taken["field"]
        self._timeout = positive_number("math", "timeout", taken["timeout"])
        self._workers = positive_integer("math", "workers", taken["workers"])
        try:
            self._version = importlib.metadata.version("math-verify")
        except importlib.metadata.PackageNotFoundError:
            require("math_verify")

    def identity(self) -> Mapping[str, Any]:
        return {"field": self._field, "timeout": self._timeout, "math_verify": self._version, "version": 1}

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        comparable = [candidate for candidate in candidates if candidate.metadata.get(self._field) is not None]
        found = self._comparisons.map(
            {"expected": str(candidate.metadata[self._field]), "completion": candidate.completion}
            for candidate in comparable
        )
        for candidate in candidates:
            if candidate.metadata.get(self._field) is None:
                yield Judgement(None, "error", f"metadata has no '{self._field}' to compare with")
            else:
                yield self._judgement(candidate, next(found))

    def _judgement(self, candidate: Candidate, found: Any) -> Judgement:
        if isinstance(found, CallFailed):
            return Judgement(None, "error", readable(found.reason))
        if not found["expected_is_readable"]:
            expected = candidate.metadata[self._field]
            return Judgement(None, "error", readable(f"metadata '{self._field}' is no mathematics: {expected!r}"))
        if found["answer"] is None:
            return Judgement.of(0.0, "no answer that can be read")
        return Judgement.of(float(found["equal"]), readable(f"answer {found['answer']}"))

    @cached_property
    def _comparisons(self) -> LimitedCalls:
        return LimitedCalls(f"{__name__}:compare", self._workers, self._timeout, MEMORY_MIB)


def compare(expected: str, completion: str) -> dict[str, Any]:
    """Whether a completion's answer equals the expected one. May take for ever, and all memory: call it with limits.

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


def read(text: str) -> tuple[list[Any], str | None]:
    """(sympy expressions, the text that they were read from) of an answer; ([], None) where none can be read."""
    from math_verify import parse

    for form in _forms(text.replace("\\$", "")):
        found = parse(form, parsing_timeout=None)
        expressions = [value for value in found if not isinstance(value, str)]
        if expressions:
            return expressions, next((value for value in found if isinstance(value, str)), form)
    return [], None


def _forms(text: str) -> Iterator[str]:
    """What to read, the likeliest first: what stands behind the last marker, then the whole text."""
    marked = _behind_last_marker(text)
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
    r"""What people type instead of LaTeX, as LaTeX.

    >>> [as_latex(text) for text in ("2*pi**2", "3 1/2", "1e5")]
    ['2*\\pi^2', '3\\frac{1}{2}', '1 \\times 10^{5}']
    """
    text = re.sub(r"(?<![\\A-Za-z])pi\b", r"\\pi", text.replace("**", "^"))
    text = re.sub(r"\b(\d+) (\d+)/(\d+)\b", r"\1\\frac{\2}{\3}", text)
    return re.sub(r"(?<=[\d.])[eE]([+-]?\d+)\b", r" \\times 10^{\1}", text)


def _behind_last_marker(text: str) -> str:
    """The rest of the line behind the last answer marker; empty where there is none, or a box, which stands alone."""
    markers = list(MARKERS.finditer(text))
    if not markers or markers[-1][0].startswith("\\boxed"):
        return ""
    line = text[markers[-1].end() :].partition("\n")[0]
    return line.strip().removesuffix(".")


@lru_cache(maxsize=1024)
def _read_expected(expected: str) -> tuple[list[Any], str | None]:
    """A group's samples have one expected answer."""
    return read(expected)
