"""Lists against relevant items: the discounted gain and the steps, by hand."""

from math import log2

import pytest

from grao_pipeline.scoring.rewards.base import Judgement
from grao_pipeline.scoring.steps import Step
from tests.scoring.common import judge

LIST = "1. Tea\n\n- Sugar\n  * milk\ntea"


def test_the_reward_is_the_discounted_gain_and_every_item_a_step() -> None:
    """Relevant: tea at place 1 and milk at 3; the second tea counts no more. The best list has them at 1 and 2."""
    (judgement,) = judge("list-items", [LIST], items=["tea", "Milk"])
    assert judgement.reward == pytest.approx((1 + 1 / log2(4)) / (1 + 1 / log2(3)))
    assert judgement.steps == (Step(7, 1.0), Step(16, 0.0), Step(25, 1.0), Step(28, 0.0))
    assert [LIST[: step.end].count("\n") for step in judgement.steps] == [1, 3, 4, 4]


def test_the_whole_list_in_any_form_and_no_list_at_all() -> None:
    texts = ["milk\n2) tea", "", "\n \n", "coffee"]
    assert [judgement.reward for judgement in judge("list-items", texts, items=["tea", "milk"])] == [1, 0, 0, 0]


def test_without_relevant_items_there_is_no_reward() -> None:
    (judgement,) = judge("list-items", ["tea"])
    assert judgement == Judgement(None, "error", "metadata has no 'items' to compare with")
