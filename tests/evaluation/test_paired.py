"""Paired differences: the mean is exact, the interval covers, and it is narrower where prompts differ in difficulty."""

import numpy as np
import pytest

from grao_pipeline.evaluation.paired import paired_difference
from grao_pipeline.evaluation.scored_prompts import ScoredPrompt


def scored(rewards: list[float | None]) -> ScoredPrompt:
    return ScoredPrompt(rewards, None, [1] * len(rewards), 0.0)


def test_the_difference_is_that_of_the_prompts_that_both_have() -> None:
    """one: 1.0 − 0.5; two: 0.0 − 0.5; four has no scored sample of the other; three and five have one model each."""
    one = {"one": scored([1.0, 1.0]), "two": scored([0.0]), "three": scored([9.0]), "four": scored([1.0])}
    other = {"one": scored([0.0, 1.0]), "two": scored([0.5, None]), "five": scored([9.0]), "four": scored([None])}
    paired = paired_difference(one, other, 0.95, 200, 0)
    assert paired is not None
    assert (paired.difference.value, paired.difference.n) == (0.0, 2)
    assert paired_difference({"a": scored([1.0])}, {"b": scored([1.0])}, 0.95, 200, 0) is None


def test_intervals_of_pairs_are_narrower_by_what_the_prompts_share() -> None:
    """Rewards d + noise, d of the prompt with a standard deviation of 1, noise of 0.2 for each model.

    Standard deviation of the difference: √2 · 0.2 for pairs, √2 · √1.04 for two separate means: 0.196 of it.
    """
    generator = np.random.default_rng(0)
    difficulty = generator.normal(size=400)
    models = [
        {str(i): scored([float(d + shift + generator.normal(scale=0.2))]) for i, d in enumerate(difficulty)}
        for shift in (0.1, 0.0)
    ]
    paired = paired_difference(models[0], models[1], 0.95, 2000, 0)
    assert paired is not None
    assert paired.narrower == pytest.approx(0.2 / 1.04**0.5, rel=0.1)
    assert paired.difference.low < 0.1 < paired.difference.high
    assert paired.difference.low > 0.0  # which two separate means could not tell: their interval is ± 0.14


@pytest.mark.slow
def test_the_interval_covers_the_true_difference() -> None:
    """Of 200 draws of 60 prompts, 95 % ± 3 standard deviations (1.5 %) are to hold the true difference of 0.1."""
    generator = np.random.default_rng(1)
    covered = 0
    for draw in range(200):
        difficulty = generator.normal(size=60)
        one, other = (
            {str(i): scored([float(d + shift + generator.normal(scale=0.3))]) for i, d in enumerate(difficulty)}
            for shift in (0.1, 0.0)
        )
        paired = paired_difference(one, other, 0.95, 200, draw)
        assert paired is not None
        covered += paired.difference.low <= 0.1 <= paired.difference.high
    assert 0.90 < covered / 200 < 0.995
