"""RAS and NAG by hand, and against counting loops."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.evaluation.metrics import mean_reward, nag, ras
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
