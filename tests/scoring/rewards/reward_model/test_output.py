"""What `--reward-arg output=…` means."""

import json
import math

import pytest

from grao_pipeline.errors import UsageError
from grao_pipeline.scoring.rewards.reward_model.output import parse_output

NAMES = ("helpfulness", "verbosity", "style:tone")


@pytest.mark.parametrize(
    ("chosen", "weights"),
    [
        ("verbosity", {"verbosity": 1.0}),
        ("helpfulness:0.6,verbosity:-0.2", {"helpfulness": 0.6, "verbosity": -0.2}),
        ("helpfulness, verbosity:2", {"helpfulness": 1.0, "verbosity": 2.0}),
        ("style:tone", {"style:tone": 1.0}),
        ("style:tone:0.5,helpfulness", {"style:tone": 0.5, "helpfulness": 1.0}),
    ],
)
def test_a_name_or_a_weighted_sum_of_names(chosen: str, weights: dict[str, float]) -> None:
    assert parse_output(chosen, NAMES, "model").weights == weights


def test_the_reward_is_the_weighted_sum() -> None:
    """0.5 · 2 − 0.25 · 3 = 0.25."""
    output = parse_output("helpfulness:0.5,verbosity:-0.25", NAMES, "model")
    assert output.reward([2.0, 3.0, 1 / 3]) == 0.25
    assert output.detail([2.0, 3.0, 1 / 3]) == '{"helpfulness":2.0,"verbosity":3.0,"style:tone":0.333333}'


def test_the_detail_is_json_even_if_an_output_is_nan() -> None:
    detail = parse_output("verbosity", NAMES, "model").detail([math.nan, 1.0, math.inf])
    assert json.loads(str(detail)) == {"helpfulness": None, "verbosity": 1.0, "style:tone": None}


def test_the_only_output_need_not_be_named() -> None:
    output = parse_output("", ["LABEL_0"], "model")
    assert (output.reward([0.7]), output.detail([0.7])) == (0.7, None)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("", "model has 3 outputs: helpfulness, verbosity, style:tone. Say which is the reward"),
        ("helpful", "model has no output 'helpful'. It has: helpfulness, verbosity, style:tone"),
        ("helpful:0.5", "model has no output 'helpful'"),
        ("helpfulness:much", "the weight 'much' is not a number"),
        ("helpfulness:nan", "the weight 'nan' is not a number"),
        ("helpfulness:", "the weight '' is not a number"),
        ("verbosity,verbosity:2", "'verbosity' is given twice"),
        ("verbosity,", "model has no output ''"),
    ],
)
def test_a_wrong_output_is_named(chosen: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_output(chosen, NAMES, "model")


def test_outputs_with_the_same_name_are_refused() -> None:
    with pytest.raises(UsageError, match="model has several outputs of one name"):
        parse_output("a", ["a", "a"], "model")
