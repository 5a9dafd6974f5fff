"""What several processes tell is shown as if they were one."""

from threading import Semaphore

import pytest

from grao_pipeline.errors import GraoError, Interrupted, MismatchError, StoppedElsewhere, UsageError
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.relay import VARIABLE, Relay, RelayedProgress

PATIENCE = 120.0


def told_by(relay: Relay) -> RelayedProgress:
    """The progress of another process."""
    return RelayedProgress(relay.environment[VARIABLE])


def test_equal_lines_are_shown_once_and_equal_tasks_are_one_bar() -> None:
    shown, counted = RecordedProgress(), RecordedProgress()
    bar = counted.track("scoring", 12, "groups", 2)
    with Relay(shown, {"scoring": bar}) as relay:
        first, second = told_by(relay), told_by(relay)
        for process in (first, second):
            process.warn("The model has no end-of-sequence token.")
        with first.track("scoring", 6, "groups", 2) as one, second.track("scoring", 6, "groups", 2) as two:
            one.advance(2, judgements=3, tokens_per_second=1.5)
            two.advance(4, judgements=4, tokens_per_second=2.0)
            two.advance(1, judgements=5)
        first.note("Done.")
        first.close()
        second.close()
    assert shown.warnings == ["The model has no end-of-sequence token."]
    assert shown.notes == ["The model has no end-of-sequence token.", "Done."]
    assert bar.done == 2 + 2 + 4 + 1
    assert bar.facts == {"judgements": 3 + 5, "tokens_per_second": 1.5 + 2.0}
    assert not shown.bars


def test_a_phase_lasts_until_the_last_process_has_ended_it() -> None:
    both_began = Semaphore(0)
    shown = RecordedProgress(lambda _: both_began.release())
    with Relay(shown) as relay:
        first, second = told_by(relay), told_by(relay)
        with first.track("loading models/base"):
            first.note("first")
            second.track("loading models/base").__enter__()
            second.note("second")
            assert both_began.acquire(timeout=PATIENCE)
            assert both_began.acquire(timeout=PATIENCE)
        second.close()  # killed
        first.close()
    assert [bar.what for bar in shown.bars] == ["loading models/base"]
    assert shown.bar("loading").is_closed


@pytest.mark.parametrize("number", range(3))
def test_the_error_that_says_why_is_the_one_that_is_raised(number: int) -> None:
    """In whatever order they arrive: a process that was stopped does not know why."""
    errors: list[GraoError] = [
        StoppedElsewhere("Rank 0 stopped."),
        Interrupted("Stopped by SIGTERM."),
        UsageError("there is no such engine.", option="engine"),
    ]
    with Relay(RecordedProgress()) as relay:
        for error in errors[number:] + errors[:number]:
            process = told_by(relay)
            process.fail(error)
            process.close()
    assert isinstance(relay.error, UsageError)
    assert (relay.error.message, relay.error.option) == ("there is no such engine.", "engine")


def test_an_error_of_a_room_is_the_nearest_kind_that_everybody_knows() -> None:
    class RefusedRow(MismatchError):
        """Known to one room."""

    with Relay(RecordedProgress()) as relay:
        process = told_by(relay)
        process.fail(RefusedRow("row 3 is refused"))
        process.close()
    assert type(relay.error) is MismatchError
    assert str(relay.error) == "row 3 is refused"
