"""Tests run in another process than the code: ordinary tests notice nothing of it."""

# ruff: noqa: E501  # lines of programs

import pytest

from grao_pipeline.scoring.sandbox.python_runner import Limits, run_tests
from grao_pipeline.scoring.sandbox.splitting import same_process_reason

CODE = """
import math
import collections
from enum import Enum, IntEnum
from typing import List

class MyError(ValueError):
    def __init__(self, text, code=3):
        super().__init__(text)
        self.code = code

class Stack:
    def __init__(self, items=()):
        self.items = list(items)
    def push(self, item):
        self.items.append(item)
        return self
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return self.items[i]
    def __eq__(self, other): return isinstance(other, Stack) and self.items == other.items
    def __lt__(self, other): return self.items < other.items
    def __add__(self, other): return Stack(self.items + other.items)
    def __contains__(self, item): return item in self.items
    def __enter__(self): return self
    def __exit__(self, *error): self.items.clear()
    def __str__(self): return f"Stack{self.items}"

class Color(IntEnum):
    RED = 1

Point = collections.namedtuple("Point", "x y")
counter = 0
table = {"a": [1]}

def increment():
    global counter
    counter += 1
def squares(n):
    for i in range(n): yield i * i
def fail(kind):
    raise {"key": KeyError, "mine": MyError, "exit": SystemExit}[kind]("why")
def identity(x): return x
def sort_in_place(rows):
    rows.sort()
def clear_nested(grid):
    grid[0][1] = 9
    grid.append([7])
def apply(f, *args, **named): return f(*args, **named)
def swallow(f):
    try: return f()
    except ZeroDivisionError: return "caught"
def total(items): return sum(items)
def make_adder(n): return lambda x: x + n
def deep(n):
    value = []
    for _ in range(n): value = [value]
    return value
"""

PASSING = [
    "assert identity(3) == 3 and identity(2**200) == 2**200 and identity(-0.0) == 0.0",
    "assert identity([1, (2, {3: {4}}), None, True, 'a\\ud800', b'x', 1j]) == [1, (2, {3: {4}}), None, True, 'a\\ud800', b'x', 1j]",
    "assert type(identity(True)) is bool\nassert type(identity([])) is list",
    "import datetime, decimal, fractions, collections\n"
    "for v in (datetime.date(2024, 1, 2), datetime.timedelta(1, 2), decimal.Decimal('1.50'), fractions.Fraction(1, 3), range(3),\n"
    "          collections.Counter('aab'), collections.deque([1]), collections.OrderedDict(a=1), frozenset({1}), bytearray(b'x')):\n"
    "    assert identity(v) == v and type(identity(v)) is type(v), v",
    "assert identity(float('inf')) == math.inf and math.isnan(identity(float('nan')))",
    "rows = [3, 1, 2]\nsort_in_place(rows)\nassert rows == [1, 2, 3]",
    "row = [1, 2]\ngrid = [row]\nclear_nested(grid)\nassert grid == [[1, 9], [7]] and row == [1, 9]",
    "s = Stack()\ns.push(1).push(2)\nassert len(s) == 2 and s.pop() == 2 and s[0] == 1 and 1 in s and str(s) == 'Stack[1]'",
    "assert Stack([1]) + Stack([2]) == Stack([1, 2]) and Stack([1]) < Stack([2]) and Stack([1]) != Stack([2])",
    "assert isinstance(Stack(), Stack) and not isinstance(3, Stack) and Stack([4, 5]).items == [4, 5]",
    "with Stack([1]) as s:\n    assert len(s) == 1\nassert len(s) == 0",
    "increment()\nincrement()",
    "assert counter >= 0\nbefore = counter\nincrement()",
    "assert list(squares(4)) == [0, 1, 4, 9] and next(squares(1)) == 0 and sum(squares(3)) == 5",
    "assert [x for x in squares(3)] == [0, 1, 4] and dict(enumerate(squares(2))) == {0: 0, 1: 1}",
    "try:\n    fail('key')\n    assert False\nexcept KeyError as e:\n    assert 'why' in str(e)",
    "try:\n    fail('mine')\nexcept MyError as e:\n    assert e.code == 3 and isinstance(e, ValueError)\nelse:\n    assert False",
    "try:\n    fail('exit')\nexcept SystemExit:\n    pass",
    "assert apply(lambda x, y=1: x + y, 2, y=5) == 7 and apply(max, 1, 4) == 4 and apply(sorted, [2, 1]) == [1, 2]",
    "assert apply(sorted, ['bb', 'a'], key=lambda t: len(t)) == ['a', 'bb']",
    "assert swallow(lambda: 1 / 0) == 'caught'",
    "assert total(i for i in range(4)) == 6 and total(iter([1])) == 1",
    "assert make_adder(2)(3) == 5 and list(map(make_adder(1), [1, 2])) == [2, 3]",
    "assert Color.RED == 1 and isinstance(Color.RED, int) and {1: 'x'}[Color.RED] == 'x' and Color.RED < 2",
    "x, y = Point(1, 2)\nassert (x, y) == (1, 2) and Point(1, 2) == (1, 2) and Point(3, 4).y == 4",
    "assert table == {'a': [1]} and math.sqrt(4) == 2",
    "v: List[int] = identity([1])\nassert v == [1]",
    "assert abs(identity(0.1) + 0.2 - 0.3) < 1e-9",
    "def check(candidate):\n    assert candidate(3) == 3\n    for value in ([], 'a', {}):\n        assert candidate(value) == value\ncheck(identity)",
    "assert all(identity(i) == i for i in range(50))",
    "assert Stack.__name__ == 'Stack' and callable(identity)",
    "value = deep(60)\nfor _ in range(60):\n    value = value[0]\nassert len(value) == 0",
]


def test_ordinary_tests_pass() -> None:
    run = run_tests(CODE, PASSING, Limits(5, 512))
    failed = [test for test, passed in zip(PASSING, run.passed, strict=True) if not passed]
    assert (failed, run.problem, run.same_process) == ([], None, None)


def test_every_one_of_them_fails_where_its_claim_is_wrong() -> None:
    wrong = [
        "assert identity(3) == 4",
        "assert counter == 99",
        "rows = [2, 1]\nsort_in_place(rows)\nassert rows == [2, 1]",
    ]
    wrong += ["assert list(squares(3)) == [0, 1, 5]", "assert Stack([1]) == Stack([2])", "assert Color.RED == 2"]
    wrong += ["fail('mine')", "assert identity([1]) == (1,)", "assert Stack([1]) == [1]", "assert missing(3) == 3"]
    assert not any(run_tests(CODE, wrong, Limits(5, 512)).passed)


@pytest.mark.parametrize(
    ("tests", "passed"),
    [
        (["assert sum([1, 2]) == 3"], True),  # the completion's own function of that name is what is tested
        (["assert f(3) == 3 and sum([1, 2]) == 6"], False),
    ],
)
def test_code_replaces_a_builtin_only_where_that_is_what_is_tested(tests: list[str], passed: bool) -> None:
    code = "def sum(items):\n    total = 0\n    for item in items: total += item\n    return total\n"
    if len(tests[0]) > 30:
        code = "def f(x): return x\nsum = lambda items: 6"
    assert run_tests(code, tests, Limits(2, 256)).passed == (passed,)


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("class Node: pass\nassert f(Node())", "class"),
        ("assert f(x) is not x", "is"),
        ("import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()): f()", "redirect_stdout"),
        ("assert f.__doc__", "__doc__"),
        ("from unittest import TestCase", "unittest"),
        ("assert f(2) is None and f(3) == 4", None),
        ("import sys\nsys.setrecursionlimit(10000)\nassert f(2) == sys.maxsize", None),
        ("x = 1 if f else (", None),
    ],
)
def test_the_tests_alone_decide_where_they_run(test: str, reason: str | None) -> None:
    assert same_process_reason([test]) == reason


@pytest.mark.slow
def test_tests_that_need_the_process_of_the_code_run_in_it() -> None:
    run = run_tests("def f(node): return node.value", ["class N:\n    value = 3\nassert f(N()) == 3"], Limits(2, 256))
    assert (run.passed, run.same_process) == ((True,), "class")
    run = run_tests("def f(x): return x", ["import re\nassert f(re.compile('a')).pattern == 'a'"], Limits(2, 256))
    assert (run.passed, run.same_process) == ((True,), "a value that cannot be copied")


@pytest.mark.slow
def test_code_that_floods_stalls_or_closes_the_pipe_fails() -> None:
    for code in (
        "import os\nos.closerange(3, 64)\nf = lambda x: 4",
        "import os\nfor d in range(3, 64):\n    try: os.write(d, b'[' * 100000 + b'\\n')\n    except OSError: pass\nf = lambda x: 4",
        "f = lambda x: '9' * 10**9",
        "def f(x): return f",
    ):
        assert run_tests(code, ["assert f(2) == 4"], Limits(1, 256)).passed == (False,), code
