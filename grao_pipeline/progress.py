"""The Progress seam: what a stage tells people while it works."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Self

Fact = int | float | str | None
"""A number or word that is shown next to a bar, e.g. `reward=0.5`."""


class Bar:
    """How far one task of a stage is; any thread may tell. This base ignores everything.

    Example:
        with progress.track("training", total=12, unit="steps") as bar:
            bar.advance(1, J=-0.7, reward=0.5)
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, num: float = 1, **facts: Fact) -> None:
        """`num` more units are done; 0 to show new facts alone. A fact stays until it gets another value."""

    def log(self, message: str) -> None:
        """One line about how far the task is, for a log file; a terminal that shows the bar leaves it out."""


class Progress:
    """Receives what a stage tells. This base ignores everything; the commands print it on standard error."""

    def note(self, message: str) -> None:
        """One line for people, e.g. `resuming after step 3`."""

    def warn(self, message: str) -> None:
        """One line that people should see even with --quiet, e.g. `part 3 is damaged`."""

    def track(self, what: str, total: float | None = None, unit: str = "", initial: float = 0) -> Bar:
        """Show a task while the bar is entered, e.g. `track("sampling", 64, "groups")`.

        Args:
            what: what the stage is doing, e.g. `loading models/base`.
            total: units of the whole task; None where that is not known.
            unit: what is counted, in the plural; without one, only the time is shown.
            initial: units that earlier runs have done; they do not count in the rate.
        """
        return Bar()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No bar is shown meanwhile: another process may show its own on the same terminal."""
        yield


SILENT = Progress()


class RecordedBar(Bar):
    """A bar of `RecordedProgress`.

    Attributes:
        done: units, with the initial ones.
        facts: the newest value of each.
        is_closed: whether the task has ended.
    """

    def __init__(self, what: str, total: float | None, unit: str, initial: float, log: Callable[[str], object]) -> None:
        self.what, self.total, self.unit, self.initial = what, total, unit, initial
        self.done = initial
        self.facts: dict[str, Fact] = {}
        self.is_closed = False
        self._log = log
        self._lock = Lock()

    def __exit__(self, *_: object) -> None:
        self.is_closed = True

    def advance(self, num: float = 1, **facts: Fact) -> None:
        with self._lock:
            self.done += num
            self.facts |= facts

    def log(self, message: str) -> None:
        self._log(message)


class RecordedProgress(Progress):
    """A public fake for tests: records what it is told.

    Args:
        on_note: called with every line: notes, warnings and log lines of bars.

    Attributes:
        notes: every such line.
        warnings: the warnings among them.
        bars: every task that was tracked, in order.
    """

    def __init__(self, on_note: Callable[[str], object] = lambda _: None) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.bars: list[RecordedBar] = []
        self._on_note = on_note

    def note(self, message: str) -> None:
        self.notes.append(message)
        self._on_note(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self.note(message)

    def track(self, what: str, total: float | None = None, unit: str = "", initial: float = 0) -> RecordedBar:
        bar = RecordedBar(what, total, unit, initial, self.note)
        self.bars.append(bar)
        return bar

    def bar(self, what: str) -> RecordedBar:
        """The last task whose name starts with `what`."""
        return next(bar for bar in reversed(self.bars) if bar.what.startswith(what))
