"""Numbers in all the ways in which they are written, read whole or not at all; and where an answer is stated."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.scoring.rewards.answer_markers import CUT_OFF, boxes
from grao_pipeline.scoring.rewards.base import Candidate
from grao_pipeline.scoring.rewards.final_number import final_number
from grao_pipeline.scoring.rewards.quantities import whole_quantity
from tests.scoring.common import built_in, judge, rewards


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, "9500") for text in (r"9{,}500", r"9\,500", r"9,\!500", "9 500", "9\u202f500", "9’500", "9,500")),
        *((text, "1234567") for text in ("1.234.567", r"1{,}234{,}567", r"1\;234\;567", "12,34,567")),
        ("1.234.567,8", "1234567.8"),
        ("1.234,56", "1234.56"),
        ("1 234,50", "1234.5"),
        ("1.234", "1.234"),
        (r"\$9{,}500.", "9500"),
        ("x = 5", "5"),
        ("Total: about $18", "18"),
        ("6 + 12 = 18", "18"),
        ("18.0 = 18", "18"),
        ("1,800 = 18 hundred", "18"),
        ("18 dollars", "18"),
        (r"5 \text{ km/h}", "5"),
        (r"20 \text{ cm}^2", "20"),
        ("20 m²", "20"),
        (r"90^\circ", "90"),
        ("5 (five)", "5"),
        ("19th", "19"),
        ("- 3", "-3"),
        ("(-3)", "-3"),
        ("2½", "2.5"),
        (r"2\frac{1}{2}", "2.5"),
        (r"\frac34", "0.75"),
    ],
)
def test_a_number_is_read_with_its_unit_and_separators(text: str, value: str) -> None:
    quantity = whole_quantity(text)
    assert quantity is not None
    assert quantity.value == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        *("5 or 9", "512 and 729", "3 to 5", "3-5", "5 ± 1", r"5 \pm 1", r"\pm 5", "5, 9", "1,2,3"),
        *("(3, 5)", "[0, 1)", "{1, 2}", "10:30", "3:4", "2024-01-05", "12,3456", "1234,567", "1 234,567", "12,5"),
        *("x = 3, y = 4", "x = 3 or x = -3", "x < 5", "less than 5", "5 more than 3", "5 hours and 30 minutes"),
        *("5 = 4", "1 = 2 = 4", r"\$5 = \$4"),
        *("10²", "2^{10}", "5!", "3 × 4", "1 in 4", "5 dozen", "H2O", "five", "", "rule-v2", "5'10\""),
    ],
)
def test_what_is_more_than_one_number_is_not_read(text: str) -> None:
    assert whole_quantity(text) is None
    if text and "." not in text:
        (judgement,) = judge("gsm8k", ["5"], answer=text)
        assert (judgement.reward, judgement.status) == (None, "error")


def spaced(separator: str) -> st.SearchStrategy[str]:
    return st.integers(0, 10**12).map(lambda number: f"{number:,}".replace(",", separator))


@given(
    st.one_of(*(spaced(separator) for separator in (",", "{,}", r"\,", r"\;", r"\ ", "~", ",\\!", "\u202f", " ", "'"))),
    st.sampled_from(["", ".5", ".25"]),
    st.sampled_from(["{}", "-{}", r"\${}", "-${}", "{} apples", r"{}\text{{ kg}}", "n = {}", "**{}**", r"\text{{{}}}"]),
    st.sampled_from([r"so \boxed{{{}}}", "#### {}", "Answer: {}", "**Final Answer:** {}\n(in 2 ways)", "A: {}"]),
)
def test_thousands_are_read_back_however_they_are_written(digits: str, decimals: str, form: str, marker: str) -> None:
    plain = "".join(character for character in digits if character.isdigit())
    value = Decimal(plain + decimals) * (-1 if form.startswith("-") else 1)
    text = "There were 3 + 4 = 7.\n" + marker.format(form.format(digits + decimals))
    quantity = final_number(text).quantity
    assert quantity is not None, text
    assert quantity.value == value, text


@given(
    st.integers(1, 999), st.integers(1, 999), st.sampled_from(["{} or {}", "{} and {}", "{}-{}", "{} to {}", "{}:{}"])
)
def test_of_two_numbers_none_is_the_answer(one: int, other: int, form: str) -> None:
    answer = form.format(one, other)
    for frame in (r"\boxed{{{}}}", "The answer is {}.", "#### {}"):
        assert final_number(frame.format(answer)).quantity is None, frame


@given(st.fractions(0, 100, max_denominator=50).filter(lambda value: value.denominator > 1))
def test_mixed_and_plain_fractions_are_exact_to_fifty_digits(value: Fraction) -> None:
    whole, rest = divmod(value, 1)
    for text in (f"{value.numerator}/{value.denominator}", f"{whole} {rest.numerator}/{rest.denominator}"):
        quantity = whole_quantity(text)
        assert quantity is not None
        assert abs(Fraction(quantity.value) - value) < Fraction(1, 10**45)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Shop A: 6 pens. Shop B: 15 pens. Shop B has 9 more.", "9"),
        ("Train A: 60 mph. So it is 120 miles.", "120"),
        ("A: $10\nB: $15\nTogether: $25", "25"),
        ("#### Step 2: add up\nSo 7", "7"),
        ("#### 2. Add up\nSo 3 + 4 makes 7.", "7"),
        ("### Answer: 6 pens\nSee page 40.", "6"),
        ("Final Answer\n\n6 pens, 3 cows", "6"),
        ("**Answer:** 6\nExplanation: 2 boxes of 3.", "6"),
        ("Answer: He has 3 apples. He pays 3 · 2 = 6", "6"),
        ("Answer: none. 3 + 4 = 7", "7"),
        ("The answer is 2 + 4 = 6.", "6"),
        ("The answer to question 2 would be 6, not 7", "6"),
        ("The answer is not 5, it is 6", "6"),
        ("The answer is\n\n$$\n6\n$$\nas 2 and 3 show", "6"),
        (r"The answer is \boxed{6}. Check: 2 + 4.", "6"),
        (r"The answer is \boxed{x = 6 \text{ pens}}", "6"),
    ],
)
def test_the_answer_is_where_it_is_stated(text: str, number: str) -> None:
    quantity = final_number(text).quantity
    assert quantity is not None
    assert quantity.value == Decimal(number)


def test_boxes_that_a_sentence_joins_are_one_answer() -> None:
    assert boxes(r"\boxed{2} and $\boxed{3}$") == ["2, 3"]
    assert boxes(r"\boxed{2}. No, \boxed{\frac{1}{2}}") == ["2", r"\frac{1}{2}"]
    assert final_number(r"\boxed{2} or \boxed{3}").quantity is None


@pytest.mark.parametrize(
    ("expected", "text", "reward"),
    [
        ("5 million", "5000000", 1.0),
        ("5 million", "The answer is 5 million.", 1.0),
        ("5 million", "5", 0.0),
        ("5", "5 million", 1.0),  # the question may ask how many millions
        ("5000000", r"\boxed{5\text{ million}}", 1.0),
        ("2 thousand", "2 million", 0.0),
    ],
)
def test_a_word_such_as_million_counts(expected: str, text: str, reward: float) -> None:
    for name in ("gsm8k", "numeric"):
        assert rewards(judge(name, [text], answer=expected)) == [reward]


CUT = "This results in 8 extra gnomes. However, to find the total number of"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gsm8k", "numeric", "math"])
def test_the_last_number_of_a_cut_off_text_is_not_its_answer(name: str) -> None:
    def judged(text: str, finish_reason: str) -> tuple[float | None, str | None]:
        candidate = Candidate([], text, None, {"answer": "8"}, finish_reason=finish_reason)
        (judgement,) = list(built_in(name).score([candidate]))
        return judgement.reward, judgement.detail

    assert judged(CUT, "length") == (0.0, CUT_OFF)
    assert judged(CUT, "stop")[0] == 1.0
    assert judged("#### 8", "length")[0] == 1.0
    assert judged(r"so \boxed{8", "length") == (0.0, CUT_OFF)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gsm8k", "numeric", "math"])
def test_strict_takes_only_an_answer_that_is_marked(name: str) -> None:
    texts = ["So it is 8", "8", "#### 8", "Answer: 8", r"\boxed{8}", "The answer is 8."]
    assert rewards(judge(name, texts, "strict=true", answer="8")) == [0, 0, 1, 1, 1, 1]
    assert judge(name, texts[:1], "strict=true", answer="8")[0].detail == "no marked answer"


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_an_equation_of_two_numbers_states_them_only_where_they_are_one(left: int, right: int) -> None:
    quantity = whole_quantity(f"{left} = {right}")
    assert quantity is not None and quantity.value == right if left == right else quantity is None
    text = rf"So \boxed{{{left} = {right}}}"
    for reward, answer in (("numeric", str(right)), ("gsm8k", f"#### {right}")):
        assert rewards(judge(reward, [text], answer=answer)) == [float(left == right)]
