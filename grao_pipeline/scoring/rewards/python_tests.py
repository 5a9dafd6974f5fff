"""`python-tests`: 1 where the completion's code passes the unit tests in its metadata, else 0."""

import ast
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from pydantic import PositiveInt

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.metadata import field_value
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward, RewardRuntime
from grao_pipeline.scoring.rewards.common import DEFAULT_WORKERS, readable
from grao_pipeline.scoring.rewards.expected import NoExpectedAnswer
from grao_pipeline.scoring.rewards.fenced_blocks import fenced_blocks
from grao_pipeline.scoring.sandbox.launchers import Launcher, launcher_named
from grao_pipeline.scoring.sandbox.python_runner import Limits, SuiteRun, run_tests
from grao_pipeline.scoring.sandbox.remote_service import SandboxService

LEAST_MEMORY_MIB = 64
"""Enough for Python itself, with room to spare."""
PYTHON = ("python", "python3", "py", "py3")
HERE = ("auto", "process", "bubblewrap")
"""Sandboxes with this machine's Python: which one it is changes no verdict."""


class PythonTests(Reward):
    """1 if the completion's code passes the unit tests of its metadata, else 0; the code runs in a sandbox.

    The code is the last ```` ```python ```` block of the completion, or block without a language where none is Python.
    If that does not pass, it is all such blocks that are Python, one after the other: a solution may stand in several
    blocks, or before an example of its use. A block may be unclosed, indented, or opened by the prompt; without one
    the code is the whole completion. The tests see the names of the code's module, but run in another process, so that
    the code can read neither what they expect nor forge a verdict. docs/scoring.md says what each sandbox keeps out.

    The tests are Python: a string, in which every top-level `assert` is a test and everything else prepares the next
    tests (a string without such an assert is one test); or a list of strings, each of them a test.

    1: every test passed. 0: one failed, or the code failed, exited early or exceeded its limits.
    With `partial=true`, the share of tests that passed; those after the one that ended the process did not.
    null + `error`: the tests are missing or not Python, or the sandbox could not be set up.
    """

    class Arguments(PluginArguments):
        field: str = argument("tests", "Metadata key of the tests.")
        partial: bool = argument(False, "Reward the share of tests that passed, instead of all or nothing.")
        timeout: PositiveInt = argument(5, "CPU seconds for a completion with all its tests.")
        memory_mib: int = argument(512, "Memory of a completion with its tests, in MiB.", ge=LEAST_MEMORY_MIB)
        sandbox: str = argument(
            "auto",
            "What surrounds the code: process, bubblewrap, docker, the URL of a sandbox service, or auto: bubblewrap "
            "where it works, else process.",
        )
        workers: PositiveInt = argument(DEFAULT_WORKERS, "Completions that run at once; does not change any judgement.")

    arguments: Arguments
    verifies = True

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._limits = Limits(arguments.timeout, arguments.memory_mib)
        self._service = SandboxService(arguments.sandbox) if arguments.sandbox not in (*HERE, "docker") else None
        self._same_process: Counter[str] = Counter()
        self._has_run = False

    def identity(self) -> Mapping[str, object]:
        """A container and a service have another Python; bubblewrap and a process have this one."""
        values = self.arguments.model_dump(mode="json", exclude={"workers", "sandbox"})
        elsewhere = {} if self.arguments.sandbox in HERE else {"sandbox": self.arguments.sandbox}
        return {**values, **elsewhere, "version": 3}

    def remarks(self) -> list[str]:
        remarks = [f"The code ran in: {self._sandbox_name}."] if self._has_run else []
        if self._same_process:
            reasons = ", ".join(f"{reason} ({count:,})" for reason, count in self._same_process.most_common(5))
            remarks.append(
                f"{self._same_process.total():,} runs had their tests in the process of the code, since the tests use: "
                f"{reasons}. Code that is written to cheat can forge the verdicts of these."
            )
        return remarks

    @property
    def _sandbox_name(self) -> str:
        return self.arguments.sandbox if self._service is not None else self._launcher.name

    @cached_property
    def _launcher(self) -> Launcher:
        return launcher_named(self.arguments.sandbox)

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        if self._service is None and candidates:
            _ = self._launcher  # refused before the first thread starts
        suites = [self._suite(field_value(candidate.metadata, self.arguments.field)) for candidate in candidates]
        with ThreadPoolExecutor(self.arguments.workers) as threads:
            yield from threads.map(self._judge, candidates, suites)

    def _run(self, program: str, suite: "Suite") -> SuiteRun:
        self._has_run = True
        if self._service is not None:
            return self._service.run_tests(program, suite.sources, self._limits)
        run = run_tests(program, suite.sources, self._limits, self._launcher)
        if run.same_process is not None:
            self._same_process[run.same_process] += 1
        return run

    def _suite(self, tests: object) -> "Suite | str":
        """The suite, or the reason why the tests cannot be run."""
        if tests is None:
            return f"metadata has no '{self.arguments.field}'"
        try:
            return Suite.read(tests)
        except ValueError as error:
            return f"metadata '{self.arguments.field}' {error}"

    def _judge(self, candidate: Candidate, suite: "Suite | str") -> Judgement:
        if isinstance(suite, str):
            return NoExpectedAnswer(suite).judgement()
        runs: list[SuiteRun] = []
        for program in programs_of(candidate.completion):
            runs.append(self._run(program, suite))
            if not runs[-1].started:
                return Judgement(None, "error", readable(str(runs[-1].problem)))
            if runs[-1].problem is None:
                break
        run = max(runs, key=lambda run: (run.problem is None, sum(run.passed)))
        num_passed = sum(passed for passed, number in zip(run.passed, suite.numbers, strict=True) if number)
        num_tests = max(suite.numbers)
        reward = num_passed / num_tests if self.arguments.partial else float(run.problem is None)
        detail = f"{num_passed} of {num_tests} tests passed"
        if run.problem is not None:
            detail += f"; {suite.place(run.failed_at)}: {run.problem}"
        return Judgement.of(reward, readable(detail))


@dataclass(frozen=True)
class Suite:
    """Tests and the code that prepares them, in order.

    Example: `Suite(("import math", "assert f(4) == math.sqrt(16)"), (0, 1))`
    """

    sources: tuple[str, ...]
    numbers: tuple[int, ...]
    """Per source: the number of its test, from 1; 0 for preparing code."""

    @staticmethod
    def read(tests: object) -> "Suite":
        """The suite of the tests in a string, or in a list of strings.

        Raises:
            ValueError: `tests` is neither, or not Python.
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
            statements = [ast.unparse(node) for node in nodes]
            sources += statements if is_test else ["\n".join(statements)]
            first = max(numbers, default=0) + 1
            numbers += range(first, first + len(statements)) if is_test else [0]
        return Suite(tuple(sources), tuple(numbers))

    def place(self, index: int | None) -> str:
        """The name of the source `index` for messages; None is the completion's code."""
        if index is None:
            return "the code"
        return f"test {self.numbers[index]}" if self.numbers[index] else "preparing the tests"


def programs_of(completion: str) -> list[str]:
    """The programs that a completion may mean, likeliest first; at least one."""
    blocks = fenced_blocks(completion)
    texts = [block.text for block in blocks if block.language in PYTHON]
    texts = texts or [block.text for block in blocks if not block.language]
    if not texts:
        return [completion]
    python = [text for text in texts if _is_python(text)]
    together = "\n".join(python)
    return [texts[-1]] if python in ([], texts[-1:]) else [texts[-1], together]


def _is_python(source: str) -> bool:
    try:
        return bool(_parse(source).body)
    except ValueError:
        return False


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
