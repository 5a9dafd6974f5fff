"""RAS and NAG by hand, and against counting loops."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.evaluation.metrics import mean_reward, nag, pass_at, ras, success_rate
from tests.tiers import examples

rewards = st.lists(st.none() | st.sampled_from([-1.0, 0.0, 0.5, 1.0]) | st.floats(-10, 10), max_size=6)


@pytest.mark.parametrize(
    ("samples", "reference", "value"),
    [
        ([1.0], 0.5, 1.0),
        ([0.5], 0.5, 0.0),  # a tie is not a win
        ([0.0], 0.5, 0.0),
        ([1.0, 0.5, 0.0, 2.0], 0.5, 0.5),
        ([1.0, None, 0.0, None], 0.5, 0.5),  # the unscored do not count
        ([1, 0, -1], 0.0, 1 / 3),  # a pairwise reward: the reference against itself is 0
        ([None], 0.5, None),
        ([1.0], None, None),
        ([], 0.5, None),
    ],
)
def test_ras_is_the_share_of_samples_that_beat_the_reference(
    samples: list[float | None], reference: float | None, value: float | None
) -> None:
    assert ras(samples, reference) == value


@pytest.mark.parametrize(
    ("tuned", "base", "win_rate", "net"),
    [
        ([1.0], [0.0], 1.0, 1.0),
        ([0.0], [1.0], 0.0, -1.0),
        ([1.0], [1.0], 0.0, 0.0),
        # pairs: 1>0, 1=1, 0=0, 0<1: one win, one loss, two ties
        ([1.0, 0.0], [0.0, 1.0], 0.25, 0.0),
        # pairs with 2: two wins; with 0: a tie and a loss
        ([2.0, None, 0.0], [0.0, 1.0], 0.5, 0.25),
        # different numbers of samples: 1>0 three times of three
        ([1.0], [0.0, 0.0, None, -1.0], 1.0, 1.0),
    ],
)
def test_nag_is_over_all_pairs(
    tuned: list[float | None], base: list[float | None], win_rate: float, net: float
) -> None:
    result = nag(tuned, base)
    assert result is not None
    assert result[:2] == (win_rate, net)


@pytest.mark.parametrize(("tuned", "base"), [([], [1.0]), ([None], [1.0]), ([1.0], [None]), ([1.0], [])])
def test_nag_without_a_pair_is_none(tuned: list[float | None], base: list[float | None]) -> None:
    assert nag(tuned, base) is None


@settings(max_examples=examples(50))
@given(rewards, rewards)
def test_nag_counts_wins_and_losses_and_mirrors(tuned: list[float | None], base: list[float | None]) -> None:
    pairs = [(t, b) for t in tuned if t is not None for b in base if b is not None]
    if not pairs:
        assert nag(tuned, base) is None
        return
    wins, losses = sum(t > b for t, b in pairs), sum(t < b for t, b in pairs)
    ties = 1 - (wins + losses) / len(pairs)
    assert nag(tuned, base) == pytest.approx((wins / len(pairs), (wins - losses) / len(pairs), ties), abs=1e-12)
    assert nag(base, tuned) == pytest.approx((losses / len(pairs), (losses - wins) / len(pairs), ties), abs=1e-12)


def test_the_mean_reward_is_over_scored_samples() -> None:
    assert mean_reward([1.0, None, 2.0]) == 1.5
    assert mean_reward([None]) is None
    assert mean_reward([]) is None


@given(samples=rewards, k=st.integers(1, 6), success=st.sampled_from([0.0, 0.5, 1.0]))
def test_pass_at_k_is_the_share_of_choices_of_k_samples_with_a_success(
    samples: list[float | None], k: int, success: float
) -> None:
    scored = [reward for reward in samples if reward is not None]
    choices = [any(reward >= success for reward in choice) for choice in combinations(scored, k)]
    expected = sum(choices) / len(choices) if choices else None
    assert pass_at(k, samples, success) == (None if expected is None else pytest.approx(expected))


def test_pass_at_k_is_unbiased_where_the_plug_in_is_not() -> None:
    """Over all outcomes of 4 samples that each succeed with p = 1/4: E[pass@2] = 1 − (3/4)², the plug-in is lower."""
    expected, plug_in = 0.0, 0.0
    for number in range(2**4):
        outcome = [float(number >> place & 1) for place in range(4)]
        probability = 0.25 ** sum(outcome) * 0.75 ** (4 - sum(outcome))
        value = pass_at(2, outcome, 1.0)
        assert value is not None
        expected += probability * value
        plug_in += probability * (1 - (1 - sum(outcome) / 4) ** 2)
    assert expected == pytest.approx(1 - 0.75**2, abs=1e-12)
    assert plug_in < expected - 0.04


def test_a_reward_that_was_rounded_to_float32_reaches_its_threshold() -> None:
    stored = float(np.float32(0.9))
    assert stored < 0.9
    assert pass_at(1, [stored, 0.0], 0.9) == 0.5
    assert success_rate([stored, 0.0, None], 0.9) == 0.5
    assert success_rate([None], 0.9) is None
