"""`numeric`: every way to write a number, tolerances, and solutions that people have judged."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.errors import UsageError
from grao_pipeline.scoring.rewards.base import Judgement
from grao_pipeline.scoring.rewards.final_number import final_number
from tests.scoring.common import judge, rewards
from tests.scoring.rewards.test_gsm8k import MODELS, judged_solutions


@pytest.mark.parametrize(
    ("text", "value", "percent"),
    [
        ("18", "18", False),
        ("It weighs 1,234.5 kg.", "1234.5", False),
        ("#### -$3", "-3", False),
        ("A: −2.5e3 m", "-2500", False),
        ("1.5E-3", "0.0015", False),
        ("3 × 10^8 m/s", "300000000", False),
        (r"$6.02 \times 10^{23}$", "6.02e23", False),
        (r"\boxed{2 \cdot 10^{-2}}", "0.02", False),
        ("5*10**2", "500", False),
        ("3/4", "0.75", False),
        (r"The answer is \frac{3}{4} of it", "0.75", False),
        (r"\boxed{\dfrac{-1}{8}}", "-0.125", False),
        ("2 1/2 cups", "2.5", False),
        ("-2 1/2", "-2.5", False),
        ("about 12.5% of 80", "80", False),  # the last number
        ("The answer is 12.5% of 80", "12.5", True),
        (r"so 75\%", "75", True),
        ("It is 10-3", "3", False),  # a hyphen between numbers is not a sign
        ("The answer is 10/4 = 2.5", "2.5", False),
        ("A: 3e", "3", False),
    ],
)
def test_a_number_is_read_however_it_is_written(text: str, value: str, percent: bool) -> None:
    quantity = final_number(text).quantity
    assert quantity is not None
    assert (quantity.value, quantity.percent) == (Decimal(value), percent)


@pytest.mark.parametrize("text", ["", "none", "A:", "1/0", "1e99999999999999999999", "A: 24/7/365"])
def test_a_number_that_is_not_finite_is_rejected(text: str) -> None:
    assert final_number(text).quantity is None


@given(
    st.decimals(-(10**9), 10**9, allow_nan=False, places=3),
    st.integers(-30, 30),
    st.sampled_from(["{}e{}", "{} × 10^{}", r"${} \times 10^{{{}}}$", "{}*10**{} joules"]),
)
def test_scientific_notation_is_read_back(value: Decimal, power: int, form: str) -> None:
    quantity = final_number("A: " + form.format(f"{value:,}", power)).quantity
    assert quantity is not None
    assert Fraction(quantity.value) == Fraction(value) * Fraction(10) ** power


@pytest.mark.parametrize(
    ("expected", "text", "reward"),
    [
        ("50", "50%", 1.0),  # a percent sign may be missing on one side
        ("0.5", "50%", 1.0),
        ("50%", "0.5", 1.0),
        ("50%", "50", 1.0),
        ("0.5%", "50%", 0.0),
        ("0.5%", "0.5%", 1.0),
        ("0.5", "5%", 0.0),
        ("3 km", "3 m", 1.0),  # units are not read
    ],
)
def test_percentages_compare_as_meant_and_units_are_not_read(expected: str, text: str, reward: float) -> None:
    assert rewards(judge("numeric", [text], answer=expected)) == [reward]


def test_a_number_counts_within_the_tolerance_and_not_beyond() -> None:
    texts = ["9.4", "9.5", "10", "10.5", "10.6"]
    assert rewards(judge("numeric", texts, answer=10)) == [0, 0, 1, 0, 0]
    assert rewards(judge("numeric", texts, "absolute=0.5", answer=10)) == [0, 1, 1, 1, 0]
    assert rewards(judge("numeric", ["-104", "-105", "-106"], "relative=0.0625", answer=-100)) == [1, 1, 1]
    assert rewards(judge("numeric", ["-106", "-107"], "relative=0.0625", "absolute=1", answer=-100)) == [1, 0]
    assert rewards(judge("numeric", ["1000000.9", "1000001.1"], answer="1e6")) == [1, 0]  # rounding: 1e-6
    assert rewards(judge("numeric", ["1000000.9"], "relative=0", answer="1e6")) == [0]


def test_a_completion_without_a_number_is_wrong() -> None:
    assert judge("numeric", ["many"], answer="5") == [Judgement(0.0, "ok", "no final number")]
    assert judge("numeric", ["5"], answer="five") == [
        Judgement(None, "error", "the expected answer cannot be read: metadata 'answer' is 'five'")
    ]
    assert judge("numeric", ["5"]) == [Judgement(None, "error", "metadata has no 'answer' to compare with")]


@pytest.mark.parametrize("argument", ["absolute=-1", "relative=some", "relative=nan", "absolute=inf"])
def test_a_wrong_tolerance_is_refused(argument: str) -> None:
    with pytest.raises(UsageError, match=f"reward_arg: {argument}: input should be .* \\(reward 'numeric'\\)"):
        judge("numeric", ["5"], argument, answer="5")


def test_it_agrees_with_people_on_real_solutions(real_data: Path) -> None:
    disagreements: list[Any] = []
    for index, row in enumerate(judged_solutions(real_data)):
        for model in MODELS:
            (judgement,) = judge("numeric", [row[model]["solution"]], answer=row["ground_truth"])
            if (judgement.reward == 1.0) != row[model]["is_correct"]:
                disagreements.append((index, model, judgement.detail))
    assert disagreements == []


@given(st.text(st.characters(codec="utf-8")), st.sampled_from(["", "A: ", "1/", "2e9", "\\frac{", "%"]))
def test_any_text_is_right_or_wrong(text: str, seed: str) -> None:
    (judgement,) = judge("numeric", [seed + text], answer="5")
    assert judgement.reward in (0.0, 1.0)
