"""Parts are held back until a sample was judged; a reward that judges nothing fails the stage."""

import pytest

from grao_pipeline.errors import StageFailure
from grao_pipeline.scoring.failure_gate import MAX_FAILURES, FailureGate, ScoredPart


def part(index: int) -> ScoredPart:
    return (index, [])


def test_failed_parts_pass_once_a_sample_was_judged() -> None:
    gate = FailureGate("r", is_open=False)
    assert gate.admit(part(0), ["why"]) == []
    assert gate.admit(part(1), None) == [part(0), part(1)]
    assert gate.admit(part(2), ["why"]) == [part(2)]
    assert gate.finish() == []


def test_an_earlier_run_has_opened_the_gate() -> None:
    assert FailureGate("r", is_open=True).admit(part(3), ["why"]) == [part(3)]


def test_the_stage_fails_after_many_failures_or_at_the_end() -> None:
    gate = FailureGate("r", is_open=False)
    assert gate.admit(part(0), ["first"] * (MAX_FAILURES - 1)) == []
    with pytest.raises(StageFailure, match=f"Reward 'r' failed on all {MAX_FAILURES} samples so far, e.g.: first"):
        gate.admit(part(1), ["second"])
    gate = FailureGate("r", is_open=False)
    gate.admit(part(0), ["first"])
    with pytest.raises(StageFailure, match="failed on all 1 samples"):
        gate.finish()


def test_parts_without_a_sample_to_judge_pass_at_the_end() -> None:
    gate = FailureGate("r", is_open=False)
    assert gate.admit(part(0), []) == []
    assert gate.finish() == [part(0)]
