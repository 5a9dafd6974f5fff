"""`multiple-choice`: the ways in which people and models name a letter, no letter, or several."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.scoring.rewards.base import Judgement
from tests.scoring.common import judge, rewards

CITIES = ["London", "Paris", "Rome", "Bern"]


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "b) is wrong, so B" + "\nB",
        "(B)",
        "B.",
        "**B**",
        "B. Paris",
        "(B) Paris",
        "B: Paris",
        "The answer is (B).",
        "The answer is B",
        "the answer is b)",
        "The correct answer is: **B**",
        "Answer: B",
        "**Answer:** B",
        "**Answer: B**",
        "Answer: (B) Paris",
        "The correct option is B because it is in France.",
        "My choice is option B.",
        r"So \boxed{B}",
        r"$\boxed{\text{B}}$",
        r"\boxed{\textbf{(B)}}",
        r"\boxed{B. Paris}",
        "It is **B. Paris**",
        "A) is in England.\nThe answer is (B).",  # the phrase goes before the line
        "The answer is A. No, wait: the answer is B.",  # people correct themselves
        "The answer is A. I mean \\boxed{B}.",
        "Paris",
        " paris. ",
        r"\boxed{Paris}",
        r"\boxed{\text{(B) Paris}}",
        r"\boxed{\text{Option B}}",
        "\\boxed{E = mc^2}, so the second one.\n\nAnswer: B",
        r"\boxed{Cat} is no city. Answer: B",
        "The answer is Paris.",
        "**A good question!** It is Paris:\n**(B) Paris**",
    ],
)
def test_a_letter_is_found_as_it_is_commonly_written(text: str) -> None:
    assert judge("multiple-choice", [text], answer="B", options=CITIES) == [Judgement(1.0, "ok", "chose B")]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "no letter chosen"),
        ("I do not know.", "no letter chosen"),
        ("The answer is a matter of taste.", "no letter chosen"),
        ("The answer is A matter of taste.", "no letter chosen"),
        ("A cat is a Big animal", "no letter chosen"),
        ("Answer: Being in France", "no letter chosen"),
        ("The answer is E", "no letter chosen"),  # there are four options
        ("London or Paris", "no letter chosen"),
        ("The answer is A or B", "ambiguous: A and B"),
        ("The answer is (A), (B) and (C)", "ambiguous: A and B and C"),
        ("A. London\nB. Paris\nC. Rome", "ambiguous: A and B and C"),
        ("It is **A** or **B**", "ambiguous: A and B"),
        (r"\boxed{B, D}", "ambiguous: B and D"),
        (r"\boxed{\text{B and C}}", "ambiguous: B and C"),
        (r"\boxed{B. Rome}", "ambiguous: B and C"),  # Rome is C
        (r"\boxed{Bern}", "chose D"),
        (r"\boxed{Berlin}", "no letter chosen"),
        ("**Both are big.**", "no letter chosen"),
        ("The answer is A", "chose A"),
        ("The answer is A because it is", "chose A"),
    ],
)
def test_another_letter_is_wrong_and_so_are_none_and_several(text: str, detail: str) -> None:
    assert judge("multiple-choice", [text], answer="B", options=CITIES) == [Judgement(0.0, "ok", detail)]


@pytest.mark.parametrize("answer", ["B", "b", "(B)", "B.", "Paris", "paris", 1])
def test_the_expected_answer_may_be_a_letter_a_text_or_a_position(answer: Any) -> None:
    assert rewards(judge("multiple-choice", ["B", "C"], answer=answer, options=CITIES)) == [1.0, 0.0]


def test_without_options_the_letters_are_a_to_j() -> None:
    assert rewards(judge("multiple-choice", ["J", "K", "The answer is I."], answer="J")) == [1.0, 0.0, 0.0]
    assert rewards(judge("multiple-choice", ["E"], "field=gold", "options=choices", gold="E")) == [1.0]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "metadata 'answer' is None, which is not an option"),
        ({"answer": "Madrid", "options": CITIES}, "metadata 'answer' is 'Madrid', which is not an option"),
        ({"answer": "E", "options": CITIES}, "metadata 'answer' is 'E', which is not an option"),
        ({"answer": 4, "options": CITIES}, "metadata 'answer' is 4, which is not an option"),
        ({"answer": "x", "options": ["x", "x"]}, "metadata 'answer' is 'x', which is not an option"),
        ({"answer": "A", "options": "London"}, "metadata 'options' must be a list of at most 10 options"),
    ],
)
def test_an_expected_answer_that_is_not_an_option_is_an_error(metadata: dict[str, Any], reason: str) -> None:
    assert judge("multiple-choice", ["A"], **metadata) == [Judgement(None, "error", reason)]


fragments = st.sampled_from(["The answer is ", "A", "b", "(C)", "**", "\\boxed{", "}", "\n", " or ", ". ", "I think "])


@given(st.lists(st.one_of(fragments, st.text(max_size=3)), max_size=12).map("".join))
def test_any_text_chooses_an_option_or_says_why_not(text: str) -> None:
    (judgement,) = judge("multiple-choice", [text], answer="B", options=CITIES)
    assert (judgement.reward == 1.0) == (judgement.detail == "chose B")
    assert judgement.reward == 1.0 or (judgement.detail or "").startswith(("chose ", "ambiguous: ", "no letter chosen"))
