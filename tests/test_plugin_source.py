"""What a user's function uses of its module is its fingerprint, and nothing else."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grao_pipeline.plugin_source import used_source

MODULE = '''
import math
from use_helper import scale, unrelated_import
LIMIT = 3
TABLE = {}
TABLE["a"] = 1
OTHER = 5

def count(text):
    """A docstring."""
    return len(text) * scale(LIMIT)  # a comment

def reward(completions):
    return [count(text) + TABLE["a"] for text in completions]

def unrelated():
    return math.pi
'''
HELPER = """
FACTOR = 2
def scale(x): return x * FACTOR
def unrelated_import(): return 1
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("use_")]:
        del sys.modules[name]


def source(place: Path, module: str = MODULE, helper: str = HELPER, name: str = "reward") -> str | None:
    for known in [known for known in sys.modules if known.startswith("use_")]:
        del sys.modules[known]
    (place / "use_helper.py").write_text(helper)
    (place / "use_rewards.py").write_text(module)
    importlib.invalidate_caches()
    sys.dont_write_bytecode = True
    return used_source(getattr(importlib.import_module("use_rewards"), name))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another comment"),
        ("A docstring.", "Another docstring."),
        ("return math.pi", "return math.e"),
        ("OTHER = 5", "OTHER = 6"),
        ("LIMIT = 3", "LIMIT  =  3"),
    ],
)
def test_comments_docstrings_layout_and_unrelated_code_do_not_count(old: str, new: str, place: Path) -> None:
    assert old in MODULE
    assert source(place) == source(place, MODULE.replace(old, new)) is not None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("len(text) *", "len(text) +"),
        ('TABLE["a"] = 1', 'TABLE["a"] = 2'),
        ("+ TABLE", "- TABLE"),
    ],
)
def test_what_the_function_uses_counts(old: str, new: str, place: Path) -> None:
    assert old in MODULE
    assert source(place) != source(place, MODULE.replace(old, new))


def test_a_helper_in_another_module_of_the_users_counts_as_far_as_it_is_used(place: Path) -> None:
    assert source(place) != source(place, helper=HELPER.replace("= 2", "= 3"))
    assert source(place) == source(place, helper=HELPER.replace("return 1", "return 2"))


def test_dynamic_code_and_lambdas_count_with_all_of_their_module(place: Path) -> None:
    dynamic = MODULE + "\ndef dynamic(completions): return globals()['unrelated']\n"
    assert source(place, dynamic, name="dynamic") != source(place, dynamic.replace("math.pi", "1"), name="dynamic")
    made = MODULE + "\nmade = lambda completions: []\n"
    assert source(place, made, name="made") != source(place, made.replace("math.pi", "1"), name="made")


def test_a_class_counts_with_its_bases(place: Path) -> None:
    classes = MODULE + "\nclass Base:\n    x = 1\nclass Mine(Base):\n    def score(self): return OTHER\n"
    first = source(place, classes, name="Mine")
    assert first != source(place, classes.replace("x = 1", "x = 2"), name="Mine")
    assert first != source(place, classes.replace("OTHER = 5", "OTHER = 6"), name="Mine")
    assert first == source(place, classes.replace("LIMIT = 3", "LIMIT = 4"), name="Mine")
