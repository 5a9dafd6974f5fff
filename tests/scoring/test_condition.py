"""`--when`: conditions over metadata."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.scoring.condition import Condition, ConditionError
from tests.tiers import examples

ROW: dict[str, Any] = {
    "task": "code",
    "level": 3,
    "tests": "assert f(1) == 2",
    "empty": "",
    "zero": 0,
    "no": False,
    "nothing": None,
    "tags": ["easy", 7],
    "reward_model": {"style": "rule", "ground_truth": "4"},
    "a.b": "flat",
    "data source": "x",
    "data-source": "y",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('task == "code"', True),
        ("task == 'math'", False),
        ('task != "math"', True),
        ('missing == "code"', False),
        ('missing != "code"', True),
        ("missing == null", True),
        ("level == 3.0", True),
        ('level == "3"', False),
        ("level > 2 and level <= 3", True),
        ("1 < level < 3", False),
        ("missing > 2", False),
        ("level >= -1e3", True),
        ('task in ["math", "code"]', True),
        ('task not in ["math", "code"]', False),
        ("level in [1, 2, 3,]", True),
        ('"easy" in tags', True),
        ("7 in tags", True),
        ('"hard" in tags', False),
        ('"hard" not in missing', True),
        ('"assert" in tests', True),
        ('"style" in reward_model', True),
        ("tests", True),
        ("empty and zero", True),
        ("no", False),
        ("nothing", False),
        ("missing", False),
        ("not missing", True),
        ("not not tests", True),
        ('reward_model.style == "rule"', True),
        ('reward_model.missing == "rule"', False),
        ('task.style == "rule"', False),
        ('a.b == "flat"', True),
        ('`data source` == "x"', True),
        ('data-source == "y"', True),
        ('missing or (task == "code" and not no)', True),
        ('task == "code"\n  and tests', True),
        ("zero == false", False),
        ("no == False", True),
        (r'"a\"b" == ' + "'a\"b'", True),
    ],
)
def test_a_condition_is_true_or_false_of_a_row(text: str, expected: bool) -> None:
    assert Condition.parse(text).applies_to(ROW) is expected


@pytest.mark.parametrize(
    ("text", "column", "advice"),
    [
        ('task = "code"', 6, "write == to compare"),
        ("task == ", 9, "expected a field, a text, a number or a list, not the end"),
        ("task == 'co", 9, "no closing '"),
        ('task == "a" && tests', 13, "write and"),
        ("task tests", 6, "expected and, or, or a comparison, not tests"),
        ("f(task)", 2, "expected and, or"),
        ("(task", 6, "expected )"),
        ('task in ["a" "b"]', 14, "expected ]"),
        ("a. == 3", 4, "expected the name of a field"),
        ("", 1, "expected a field"),
        ("task == and", 9, "expected a field"),
        ("(" * 60 + "a" + ")" * 60, 52, "levels of parentheses"),
        ("a == 1) or (b", 7, "expected and, or"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_column(text: str, column: int, advice: str) -> None:
    with pytest.raises(ConditionError) as error:
        Condition.parse(text)
    assert str(error.value).startswith(f"column {column}: ")
    assert advice in str(error.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("task > 3", "'code' > 3"),
        ("level < tags", "no common order"),
        ("3 in level", "3 is not a list"),
        ("no < 1", "no common"),
    ],
)
def test_values_that_cannot_be_compared_are_an_error(text: str, problem: str) -> None:
    with pytest.raises(ConditionError, match=problem):
        Condition.parse(text).applies_to(ROW)


def test_spaces_do_not_change_the_text() -> None:
    assert Condition.parse('task=="code"and(tests)').text == Condition.parse('task == "code"  and ( tests )').text


@settings(max_examples=examples(200))
@given(st.text(alphabet="ab.`'\"()[],=<>! not in and or 1-\\", max_size=30))
def test_any_text_is_a_condition_or_a_clear_error(text: str) -> None:
    problem = ""
    try:
        condition = Condition.parse(text)
        assert Condition.parse(condition.text).text == condition.text
    except ConditionError as error:
        problem = str(error)
    assert problem == "" or problem.startswith("column ")
