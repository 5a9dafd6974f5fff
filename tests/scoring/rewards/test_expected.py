"""Expected answers of all layouts: fields inside objects and lists, and what is not an answer."""

import json
from typing import Any

import pytest

from grao_pipeline.scoring.metadata import field_value
from grao_pipeline.scoring.rewards.base import Judgement
from tests.scoring.common import judge, rewards

VERL = {"ground_truth": "4", "style": "rule-v2"}


@pytest.mark.parametrize(
    ("metadata", "field", "value"),
    [
        ({"reward_model": VERL}, "reward_model.ground_truth", "4"),
        ({"reward_model": json.dumps(VERL)}, "reward_model.ground_truth", "4"),
        ({"a.b": 1, "a": {"b": 2}}, "a.b", 1),
        ({"answers": ["x", {"text": "y"}]}, "answers.1.text", "y"),
        ({"answers": ["x"]}, "answers.1", None),
        ({"answer": "x"}, "answer.text", None),
        ({}, "answer", None),
    ],
)
def test_a_dotted_field_names_a_value_inside(metadata: dict[str, Any], field: str, value: object) -> None:
    assert field_value(metadata, field) == value


@pytest.mark.parametrize("name", ["gsm8k", "numeric", "math"])
@pytest.mark.parametrize("answer", [VERL, ["15", "30"], ["4"], True, [[4]], {}])
def test_what_is_neither_text_nor_number_is_an_error(name: str, answer: Any) -> None:
    for judgement in judge(name, ["The answer is 4.", "The answer is 2."], answer=answer):
        assert (judgement.reward, judgement.status) == (None, "error")
        assert str(judgement.detail).startswith("the expected answer cannot be read: metadata 'answer' is ")


def test_the_message_names_a_field_that_can_be_compared() -> None:
    (judgement,) = judge("gsm8k", ["4"], reward_model=VERL, answer=VERL)
    problem = "the expected answer cannot be read: metadata 'answer' is an object, not a text or a number"
    assert judgement == Judgement(None, "error", f"{problem}; name one of its values, e.g. field=answer.ground_truth")
    assert rewards(judge("gsm8k", ["4", "2"], "field=answer.ground_truth", answer=VERL)) == [1.0, 0.0]


def test_exact_match_takes_a_list_of_accepted_answers() -> None:
    assert rewards(judge("exact-match", ["NYC", "New York", "York"], answer=["New York", "NYC"])) == [1.0, 1.0, 0.0]
    assert rewards(judge("exact-match", ["3", "4"], answer=[3, "three"])) == [1.0, 0.0]
    for answer in (VERL, [], [["a"]], [{"a": 1}]):
        assert judge("exact-match", ["a"], answer=answer)[0].status == "error"
