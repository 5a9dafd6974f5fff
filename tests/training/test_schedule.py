"""The learning rate by hand."""

from typing import Literal

import pytest

from grao_pipeline.training.schedule import learning_rate


# Peak 8, two steps of warm-up, six steps: 8/3 and 16/3, then the peak at step 2; what is left of 4 steps is
# 4/4, 3/4, 2/4, 1/4. Cosine: 4 (1 + cos(πk/4)), k = 0 … 3.
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [8 / 3, 16 / 3, 8.0, 8.0, 8.0, 8.0]),
        ("linear", [8 / 3, 16 / 3, 8.0, 6.0, 4.0, 2.0]),
        ("cosine", [8 / 3, 16 / 3, 8.0, 4 + 2 * 2**0.5, 4.0, 4 - 2 * 2**0.5]),
    ],
)
def test_warm_up_then_decay(schedule: Literal["constant", "linear", "cosine"], expected: list[float]) -> None:
    found = [learning_rate(step, 6, 8.0, 2, schedule) for step in range(6)]
    assert found == pytest.approx(expected, rel=1e-14)


def test_the_peak_is_reached_at_once_without_warm_up() -> None:
    assert learning_rate(0, 4, 2.0, 0, "linear") == 2.0


def test_a_warm_up_longer_than_the_training_ends_below_the_peak() -> None:
    # 9 warm-up steps: step 3 is the fourth of ten tenths.
    assert learning_rate(3, 4, 1.0, 9, "cosine") == pytest.approx(0.4)


def test_a_carried_optimizer_warms_up_once_over_trainings_of_one_step() -> None:
    # Three steps of warm-up: a quarter, two, three quarters; then the peak, whatever the decay within one step.
    for schedule in ("constant", "linear"):
        rates = [learning_rate(0, 1, 8.0, 3, schedule, earlier_steps=earlier) for earlier in range(6)]
        assert rates == pytest.approx([2.0, 4.0, 6.0, 8.0, 8.0, 8.0])
    # Two of three steps were done before: the third, then a decay over the three steps that are left.
    assert [learning_rate(step, 4, 8.0, 3, "linear", 2) for step in range(4)] == pytest.approx(
        [6.0, 8.0, 16 / 3, 8 / 3]
    )
