"""Rewards of users that are broken: one message, which names the plug-in and the line of its file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny

HEADER = "import sys\nfrom grao_pipeline import Judgement, Reward\n"
CLASS = """
class Own(Reward):
    def score(self, candidates):
        return [Judgement.of(1.0) for c in candidates]
"""

BROKEN = {
    # functions
    "no function": ("own = 3", "is neither a Python function nor a class"),
    "a module": ("import os as own", "is neither a Python function nor a class"),
    "no completions": ("def own(texts): return [1.0] * len(texts)", "does not take 'completions'"),
    "too few": ("def own(completions): return [1.0]", "returned 1 rewards for"),
    "without end": ("def own(completions):\n    while True: yield 1.0", "returned more rewards for"),
    "None": ("def own(completions): return None", "returned None for"),
    "a number": ("def own(completions): return 0.5", "returned 0.5 for 6 completions; it must return a list"),
    "an awaited number": (
        "async def own(completions): return 1",
        "returned 1 for 6 completions; it must return a list",
    ),
    "strings": ("def own(completions): return ['good'] * len(completions)", "failed on all"),
    "not finite": ("def own(completions): return [float('nan')] * len(completions)", "failed on all"),
    "raises": ("def own(completions): raise ValueError('why')", "ValueError: why"),
    "recursion": ("def own(completions): return own(completions)", "RecursionError"),
    "exit": ("def own(completions):\n    sys.exit(0)", "own.py:4: SystemExit: 0."),
    "exit at import": ("sys.exit(0)\ndef own(completions): pass", "own.py:3: SystemExit: 0."),
    "raises at import": ("1 / 0", "own.py:3: ZeroDivisionError"),
    "syntax": ("def own(:", "SyntaxError"),
    "modules": (
        "def own(completions):\n    sys.modules.clear()\n    return [1.0] * len(completions)",
        "deleted modules",
    ),
    "signature": ("def own(completions): pass\nown.__signature__ = 3", "own.py:3: TypeError"),
    # classes
    "no reward": ("class own: pass", "must derive from grao_pipeline.Reward"),
    "abstract": ("class own(Reward): pass", "must derive from grao_pipeline.Reward"),
    "no super": (CLASS + "    def __init__(self, arguments, runtime): pass\nown = Own", "must call super().__init__"),
    "__init__ raises": (
        CLASS + "    def __init__(self, *a): raise KeyError('k')\nown = Own",
        "own.py:7: KeyError: 'k'.",
    ),
    "__init__ signature": (CLASS + "    def __init__(self): pass\nown = Own", "own.py:4: TypeError: "),
    "arguments": (CLASS + "    Arguments = 3\nown = Own", "own.py:4: AttributeError: "),
    "identity raises": (CLASS + "    def identity(self): raise ValueError('i')\nown = Own", "own.py:7: ValueError: i."),
    "identity is a list": (CLASS + "    def identity(self): return [1]\nown = Own", "own.py:4: TypeError: "),
    "identity is not JSON": (CLASS + "    def identity(self): return {'a': {1}}\nown = Own", "own.py:4: TypeError: "),
    "score is None": (CLASS + "    def score(self, c): return None\nown = Own", "own.py:4: TypeError: "),
    "score yields numbers": (
        CLASS + "    def score(self, c): return [1.0] * len(c)\nown = Own",
        "returned 1.0 as a judgement",
    ),
    "score yields too many": (
        CLASS + "    def score(self, c):\n        while True: yield Judgement(1.0)\nown = Own",
        "judgements for",
    ),
    "score raises": (
        CLASS + "    def score(self, c):\n        yield Judgement(1.0)\n        1 / 0\nown = Own",
        "own.py:9: Zero",
    ),
    "score exits": (CLASS + "    def score(self, c): exit()\nown = Own", "own.py:7: SystemExit"),
    "nan": (
        CLASS + "    def score(self, c): return [Judgement(float('nan'))]\nown = Own",
        "own.py:7: ValueError: nan is not",
    ),
    "status": (
        CLASS + "    def score(self, c): return [Judgement(None, 'bad')]\nown = Own",
        "own.py:7: ValueError: status=",
    ),
    "fields": (CLASS + "    def verdicts(self, j): return 3\nown = Own", "own.py:4: AttributeError"),
    "remarks": (CLASS + "    def remarks(self): raise OSError('r')\nown = Own", "own.py:7: OSError: r."),
    "close": (CLASS + "    def close(self): raise OSError('c')\nown = Own", "own.py:7: OSError: c."),
    "bad __str__": (
        "class E(Exception):\n    def __str__(self): return 3\ndef own(completions): raise E",
        "__str__ returned non-string",
    ),
}


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [tiny.group_row(f"question {n}", ["a", "bb"]) for n in range(2)]
    return tiny.write_table(tmp_path_factory.mktemp("tables") / "groups", "groups", rows)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_reward_is_one_message(name: str, groups: str, tmp_path: Path) -> None:
    source, message = BROKEN[name]
    (tmp_path / "own.py").write_text(HEADER + source)
    result = tiny.grao("score", groups, tmp_path / "s", "--reward", f"{tmp_path / 'own.py'}:own", "--no-use-cache")
    assert message in result.stderr
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    assert "builtins" in sys.modules


@pytest.mark.slow
def test_everything_that_a_reward_prints_goes_to_standard_error(groups: str, tmp_path: Path) -> None:
    """Python, the descriptor, C's buffer, and another process."""
    (tmp_path / "noisy.py").write_text(
        "import ctypes, os, subprocess, sys\nprint('import')\ndef noisy(completions):\n    print('python')\n"
        "    sys.__stdout__.write('real')\n    os.write(1, b'descriptor')\n    ctypes.CDLL(None).printf(b'see')\n"
        "    subprocess.run(['echo', 'child'])\n    return [1.0 for c in completions]\n"
    )
    arguments = ["score", groups, tmp_path / "s", "--reward", f"{tmp_path / 'noisy.py'}:noisy", "--no-use-cache"]
    command = [sys.executable, "-m", "grao_pipeline", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["samples"] == 4
    for word in (b"import", b"python", b"real", b"descriptor", b"see", b"child"):
        assert word in done.stderr


def test_a_plug_in_that_cannot_be_described_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("class own:\n    def arguments_model(given):\n        raise ValueError('why')\n")
    result = tiny.grao("plugins", "show", "--kind", "reward", f"{tmp_path / 'own.py'}:own")
    assert result.exit_code == 2
    assert f"failed at {tmp_path / 'own.py'}:3: ValueError: why." in result.stderr
