"""How far a tracked task is, in words: count, rate, time left, facts."""

import time
from dataclasses import dataclass, field
from threading import Lock

from grao_pipeline.progress import Fact

PER = ((1.0, "s"), (60.0, "min"), (3600.0, "h"))
"""Spans over which a rate is given: the first in which at least one unit is done."""


@dataclass(eq=False)
class TaskState:
    """A task with a known or unknown end.

    Example: `str(TaskState("training", 12, "steps"))` → `3/12 steps · 1.5 steps/s · 0:06 left · reward 0.5`
    """

    what: str
    total: float | None
    unit: str
    initial: float
    done: float = 0.0
    started: float = 0.0
    facts: dict[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.done = self.initial
        self._lock = Lock()
        self.start()

    def start(self) -> None:
        self.started = time.monotonic()

    def advance(self, num: float, facts: dict[str, Fact]) -> None:
        with self._lock:
            self.done += num
            self.facts = self.facts | facts  # a new one: another thread may be reading the old one

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float | None:
        """Units per second of this run; None until one is done."""
        new = self.done - self.initial
        return new / max(self.seconds, 1e-9) if new > 0 and self.unit else None

    @property
    def seconds_left(self) -> float | None:
        """None where the end or the rate is not known."""
        if self.total is None or self.rate is None:
            return None
        return max(0.0, self.total - self.done) / self.rate

    def __str__(self) -> str:
        return " · ".join(filter(None, (self.count_and_rate(), self.facts_in_words())))

    def count_and_rate(self) -> str:
        """E.g. `3/12 steps · 1.5 steps/s · 0:06 left`."""
        parts = [self._count() if self.unit else _duration(self.seconds)]
        if self.rate is not None:
            parts.append(_rate(self.rate, self.unit))
        if self.seconds_left is not None:
            parts.append(f"{_duration(self.seconds_left)} left")
        return " · ".join(parts)

    def facts_in_words(self) -> str:
        """E.g. `J -0.71 · reward 0.5`."""
        return " · ".join(_fact(name, value) for name, value in self.facts.items() if value is not None)

    def _count(self) -> str:
        total = "" if self.total is None else f"/{self.total:,.0f}"
        return f"{int(self.done + 1e-6):,}{total} {self.unit}"  # fractions of a unit add up with rounding errors


def _rate(per_second: float, unit: str) -> str:
    span, name = next((pair for pair in PER if per_second * pair[0] >= 1.0), PER[-1])
    return f"{_number(per_second * span)} {unit}/{name}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _fact(name: str, value: Fact) -> str:
    text = value if isinstance(value, str) else _number(value or 0)
    if name.endswith("_per_second"):
        return f"{text} {name.removesuffix('_per_second')}/s"
    return f"{name.replace('_', ' ')} {text}"


def _number(value: float) -> str:
    """`1,234`, `12.3` or `0.0123`: three digits, or all of a whole number."""
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
