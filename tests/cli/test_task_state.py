"""A task in words: count, rate, time left and facts."""

import time

import pytest

from grao_pipeline.cli.task_state import TaskState


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time is the last of these numbers."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[-1])
    return now


def test_rate_and_time_left_are_those_of_this_run(clock: list[float]) -> None:
    state = TaskState("training", 12, "steps", initial=4)
    assert str(state) == "4/12 steps"
    clock.append(102.0)
    state.advance(2, {"J": -0.71234, "tokens_per_second": 1234.5})
    # 2 steps in 2 s; 12 − 6 are left
    assert str(state) == "6/12 steps · 1 steps/s · 0:06 left · J -0.712 · 1,234 tokens/s"


def test_a_slow_task_gets_its_rate_per_minute_or_hour(clock: list[float]) -> None:
    state = TaskState("training", 10, "steps", initial=0)
    clock.append(145.0)
    state.advance(3, {})
    assert str(state) == "3/10 steps · 4 steps/min · 1:45 left"
    clock.append(100.0 + 3 * 3600)
    assert str(state) == "3/10 steps · 1 steps/h · 7:00:00 left"


def test_a_task_without_unit_shows_its_time_and_one_without_end_its_count(clock: list[float]) -> None:
    loading, reading = TaskState("loading m", None, "", 0), TaskState("reading", None, "rows", 0)
    clock.append(165.0)
    reading.advance(1_300_000, {"dropped": 2, "reward": None})
    assert str(loading) == "1:05"
    assert str(reading) == "1,300,000 rows · 20,000 rows/s · dropped 2"


def test_fractions_of_a_unit_add_up(clock: list[float]) -> None:
    state = TaskState("scoring", 3, "groups", initial=0)
    for _ in range(30):
        state.advance(0.1, {})
    clock.append(101.0)
    assert state.count_and_rate().startswith("3/3 groups")
    assert state.seconds_left == pytest.approx(0.0, abs=1e-9)
