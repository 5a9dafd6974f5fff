"""The gsm8k reward on every form of number, and against solutions that people have judged."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.scoring.rewards.base import Judgement
from grao_pipeline.scoring.rewards.final_number import final_number
from tests.scoring.common import judge

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
# (index of the question, model) where the reward and the human label differ: none.
KNOWN_DISAGREEMENTS: set[tuple[int, str]] = set()
HAND_WRITTEN: list[dict[str, Any]] = [
    {
        "ground_truth": "3 * 4 = <<3*4=12>>12 apples a day, so 12 * 100 = <<12*100=1200>>1200 in all.\nA: 1,200",
        "6b_finetuning": {"solution": "He has 3 * 100 = <<3*100=300>>300.\nA: 300", "is_correct": False},
        "6b_verification": {"solution": "So 12 * 100 = <<12*100=1200>>1200 apples\nA: 1200", "is_correct": True},
        "175b_finetuning": {"solution": "So 12 * 100 = 1200.0 apples\nA: 1200.0", "is_correct": True},
        "175b_verification": {"solution": "12 * 100 = $<<12*100=1200>>1200, so 1200 - 1 = 1199", "is_correct": False},
    },
    {
        "ground_truth": "Half of 5 is <<5/2=2.5>>2.5\nA: 2.5",
        "6b_finetuning": {"solution": "5 / 2 = <<5/2=2.5>>2.5\nA: 2.50", "is_correct": True},
        "6b_verification": {"solution": "5 / 2 = <<5/2=2.5>>2.5\nA: 2.49", "is_correct": False},
        "175b_finetuning": {"solution": "5 / 2 = <<5/2=2.5>>2.5\nA: 25", "is_correct": False},
        "175b_verification": {"solution": "Half of it", "is_correct": False},
    },
]


def value_of(text: str) -> Decimal | None:
    quantity = final_number(text).quantity
    return None if quantity is None else quantity.value


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 18", "18"),
        ("#### 1,234,567", "1234567"),
        ("18 apples", "18"),
        ("A: $1,018.50.", "1018.50"),  # a period after it
        ("A: -3", "-3"),
        ("A: -$3", "-3"),
        ("A: $-3", "-3"),
        ("A: −3", "-3"),  # U+2212
        ("so it is .5", "0.5"),
        ("A: -.5", "-0.5"),
        ("A: 50%", "50"),
        ("A: 18.", "18"),
        ("A: 18.0", "18"),
        ("The answer is 18. I checked it 2 times.", "18"),
        ("The answer is: 18", "18"),
        ("The ANSWER IS 18", "18"),
        (r"so \boxed{18} in 3 steps", "18"),
        (r"so \boxed{\$1,018}", "1018"),
        ("A: 5\nNo, A: 6", "6"),  # the last marker
        ("Answer: He has 3 apples, so he pays 3 · 2 = 6.", "6"),  # a solution, not a number, follows the label
        ("6 + 12 = 18", "18"),  # no marker: the last number
        ("10-3 = 7", "7"),
        ("It is 10-3", "3"),  # a hyphen between numbers is not a sign
        ("between 5 and 10 - 3", "3"),
        ("(10)-3", "3"),
        ("covid-19", "19"),
        ("It is 10 and -3", "-3"),
        ("A: none. So 4 + 4 = 8, the answer is unclear", "8"),  # no number behind the marker
        ("<<16-3-4=9>>9 eggs", "9"),
        ("A: 007", "7"),
    ],
)
def test_the_final_number_is_found(text: str, number: str) -> None:
    assert value_of(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "no number", "A:", "####", "...", "- $", "eleven"])
def test_a_text_without_a_number_has_no_final_number(text: str) -> None:
    assert value_of(text) is None


@given(
    st.decimals(-(10**9), 10**9, allow_nan=False, places=2),
    st.sampled_from(["{}", "${}", "{} dollars.", "{}."]),
    st.sampled_from(["#### ", "A: ", "The answer is ", "\\boxed{", "It was 7 and is "]),
    st.booleans(),
)
def test_a_number_is_read_back_however_it_is_written(value: Decimal, frame: str, marker: str, thousands: bool) -> None:
    written = frame.format(f"{value:,}" if thousands else f"{value}")
    assert value_of(f"3 + 4 = 7\n{marker}{written}") == value


def test_a_completion_without_a_number_is_wrong() -> None:
    assert judge("gsm8k", ["no idea"], answer="#### 5") == [Judgement(0.0, "ok", "no final number")]
    unreadable = Judgement(None, "error", "the expected answer cannot be read: metadata 'answer' is 'five'")
    assert judge("gsm8k", ["5"], answer="five") == [unreadable]
    missing = Judgement(None, "error", "metadata has no 'answer' to compare with")
    assert judge("gsm8k", ["5"], answer=None) == judge("gsm8k", ["5"]) == [missing]


def test_numbers_are_compared_exactly() -> None:
    judgements = judge("gsm8k", ["A: 2.4999999999999", "A: 2.50"], answer="2.5")
    assert [judgement.reward for judgement in judgements] == [0.0, 1.0]


@pytest.mark.parametrize("expected", ["18", 18, 18.0, "#### 18", "6 + 12 = 18\n#### 18", "$18"])
def test_the_expected_number_may_be_a_number_or_a_worked_solution(expected: Any) -> None:
    judgements = judge("gsm8k", ["A: 18.00", "A: 19"], "field=solution", solution=expected)
    assert judgements == [Judgement(1.0, "ok", "final number 18.00"), Judgement(0.0, "ok", "final number 19")]


def rows_of(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def judged_solutions(real_data: Path) -> list[dict[str, Any]]:
    """Published questions with four solutions each that people have judged, and hand-written ones."""
    return rows_of(real_data / "gsm8k" / "model-solutions.jsonl.gz") + HAND_WRITTEN


@pytest.mark.parametrize("marker", ["A: ", "#### ", "The answer is: $", r"So \boxed{"])
def test_it_agrees_with_people_on_real_solutions(marker: str, real_data: Path) -> None:
    """Some of the published solutions have no last line `A: N`: they broke off, and are wrong."""
    disagreements = set()
    for index, row in enumerate(judged_solutions(real_data)):
        for model in MODELS:
            text = row[model]["solution"].replace("\nA: ", f"\n{marker}")
            (judgement,) = judge("gsm8k", [text], answer=row["ground_truth"])
            if (judgement.reward == 1.0) != row[model]["is_correct"]:
                disagreements.add((index, model))
    assert disagreements == KNOWN_DISAGREEMENTS


def test_every_published_answer_is_read_correctly(real_data: Path) -> None:
    """GSM8K's own answers end in `#### N`, N with commas."""
    published = [row["answer"] for row in rows_of(real_data / "gsm8k" / "train.jsonl.gz")]
    for answer in [*published, *(row["ground_truth"].replace("A:", "####") for row in HAND_WRITTEN)]:
        assert value_of(answer) == Decimal(answer.rpartition("####")[2].strip().replace(",", ""))
