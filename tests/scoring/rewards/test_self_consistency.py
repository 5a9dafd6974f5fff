"""`self-consistency`: agreement with the other samples, by hand."""

from typing import Any

import pytest

from grao_pipeline.scoring.rewards.base import Candidate, RewardRuntime
from grao_pipeline.scoring.rewards.self_consistency import SelfConsistency


def rewards_of(texts: list[str], **arguments: Any) -> list[float | None]:
    """Of every sample of a group."""
    reward = SelfConsistency(SelfConsistency.Arguments(**arguments), RewardRuntime())
    candidates = [
        Candidate([{"role": "user", "content": "?"}], text, None, {}, tuple(texts[:i] + texts[i + 1 :]))
        for i, text in enumerate(texts)
    ]
    return [judgement.reward for judgement in reward.score(candidates)]


def test_the_reward_is_the_share_of_equal_answers() -> None:
    """Answers 3, 3.0, 4, 5: ½, ½, ¼, ¼."""
    texts = ["so 2, then 3", "The answer is 3.0.", "#### 4", "5"]
    assert rewards_of(texts) == [0.5, 0.5, 0.25, 0.25]
    assert rewards_of(texts, majority=True) == [1, 1, 0, 0]


def test_of_equally_frequent_answers_each_is_the_majority() -> None:
    assert rewards_of(["1", "2", "1", "2", "3"], majority=True) == [1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("extract", "texts", "expected"),
    [
        ("number", ["none", "nothing", "7"], [0, 0, 1 / 3]),
        ("marked", ["Answer: Paris", "the answer is Paris.", "Paris"], [2 / 3, 2 / 3, 0]),
        ("text", ["a  b", "a b", "a c"], [2 / 3, 2 / 3, 1 / 3]),
    ],
)
def test_what_an_answer_is_can_be_chosen(extract: str, texts: list[str], expected: list[float]) -> None:
    assert rewards_of(texts, extract=extract) == pytest.approx(expected)
