"""`python-tests`: 1 where the completion's code passes the unit tests in its metadata, else 0."""

import ast
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from grao_pipeline.scoring.rewards.arguments import default_workers, positive_integer, readable
from grao_pipeline.scoring.rewards.base import (
    Candidate,
    Judgement,
    RewardRuntime,
    parse_boolean,
    take_arguments,
)
from grao_pipeline.scoring.sandbox.python_runner import Limits, run_tests

LEAST_MEMORY_MIB = 64
"""What Python itself needs, with room to spare."""
BLOCK = re.compile(r"^```[ \t]*(?:python|py|python3)[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE | re.IGNORECASE)


class PythonTests:
    """Runs the last ```` ```python ```` block of the completion (the whole of it, where there is none), then the tests
    of `metadata[field]` in the same module, in a sandbox (`scoring/sandbox/python_runner.py` says what it keeps out,
    and what it cannot: it is for accidents, not for attackers).

    The tests are Python: a string, of which every top-level `assert` is a test and everything else prepares the next
    ones (a string without such an assert is one test); or a list of strings, of which each is a test.

    1: every test passed. 0: one did not: it failed, the code failed, exited early, or took more than its limits.
    With `partial=true`, the share of tests that passed; those behind the one that ended the process did not.
    null + `error`: there are no tests, they are not Python, or the sandbox could not be set up.

    Arguments: field (tests), partial (false), timeout (5): whole seconds of CPU time for a completion with all its
    tests; memory_mib (512, at least 64); workers (the machine's cores, at most 8): completions that run at the same
    time, which changes no judgement.

    Raises:
        UsageError: an argument has another form.
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        taken = take_arguments(
            "python-tests",
            arguments,
            field="tests",
            partial="false",
            timeout="5",
            memory_mib="512",
            workers=default_workers(),
        )
        self._field = taken["field"]
        self._partial = parse_boolean("python-tests", "partial", taken["partial"])
        self._limits = Limits(
            positive_integer("python-tests", "timeout", taken["timeout"]),
            positive_integer("python-tests", "memory_mib", taken["memory_mib"], least=LEAST_MEMORY_MIB),
        )
        self._workers = positive_integer("python-tests", "workers", taken["workers"])

    def identity(self) -> Mapping[str, Any]:
        return {
            "field": self._field,
            "partial": self._partial,
            "timeout": self._limits.seconds,
            "memory_mib": self._limits.memory_mib,
            "version": 1,
        }

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        suites = [self._suite(candidate.metadata.get(self._field)) for candidate in candidates]
        with ThreadPoolExecutor(self._workers) as threads:
            yield from threads.map(self._judge, candidates, suites)

    def _suite(self, tests: Any) -> "Suite | str":
        """The suite, or why there is none."""
        if tests is None:
            return f"metadata has no '{self._field}'"
        try:
            return Suite.read(tests)
        except ValueError as error:
            return f"metadata '{self._field}' {error}"

    def _judge(self, candidate: Candidate, suite: "Suite | str") -> Judgement:
        if isinstance(suite, str):
            return Judgement(None, "error", readable(suite))
        run = run_tests(code_of(candidate.completion), suite.sources, self._limits)
        if not run.started:
            return Judgement(None, "error", readable(str(run.problem)))
        num_passed = sum(passed for passed, number in zip(run.passed, suite.numbers, strict=True) if number)
        num_tests = max(suite.numbers)
        reward = num_passed / num_tests if self._partial else float(run.problem is None)
        detail = f"{num_passed} of {num_tests} tests passed"
        if run.problem is not None:
            detail += f"; {suite.place(run.failed_at)}: {run.problem}"
        return Judgement.of(reward, readable(detail))


@dataclass(frozen=True)
class Suite:
    """Tests, and what prepares them, in order.

    Example: `Suite(("import math", "assert f(4) == math.sqrt(16)"), (0, 1))`
    """

    sources: tuple[str, ...]
    numbers: tuple[int, ...]
    """Of each source the number of the test that it is, from 1; 0 for a preparation."""

    @staticmethod
    def read(tests: Any) -> "Suite":
        """The suite that a string, or a list of strings, stands for.

        Raises:
            ValueError: it is neither, or not Python.
        """
        pieces = [tests] if isinstance(tests, str) else tests
        if not isinstance(pieces, list) or not pieces or not all(isinstance(piece, str) for piece in pieces):
            raise ValueError("is neither a string nor a list of strings")
        parsed = [_parse(piece) for piece in pieces]
        if not isinstance(tests, str) or not any(isinstance(node, ast.Assert) for node in parsed[0].body):
            return Suite(tuple(pieces), tuple(range(1, len(pieces) + 1)))
        sources: list[str] = []
        numbers: list[int] = []
        for is_test, nodes in groupby(parsed[0].body, lambda node: isinstance(node, ast.Assert)):
            found = [ast.unparse(node) for node in nodes]
            sources += found if is_test else ["\n".join(found)]
            first = max(numbers, default=0) + 1
            numbers += range(first, first + len(found)) if is_test else [0]
        return Suite(tuple(sources), tuple(numbers))

    def place(self, index: int | None) -> str:
        """What to call the source `index`; None is the completion's code."""
        if index is None:
            return "the code"
        return f"test {self.numbers[index]}" if self.numbers[index] else "preparing the tests"


def code_of(completion: str) -> str:
    """The last ```` ```python ```` block of a completion; all of it, where there is none."""
    blocks = BLOCK.findall(completion)
    return blocks[-1] if blocks else completion


def _parse(source: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"is not Python ({type(error).__name__}: {error})") from error
    if not parsed.body:
        raise ValueError("holds a test without a statement")
    return parsed
