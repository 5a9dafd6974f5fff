"""What the tasks of a rounds file would do and cost; nothing is made and no model is loaded."""

from dataclasses import dataclass
from typing import Any

from grao_pipeline.rounds.config.run_plan import RunPlan
from grao_pipeline.rounds.estimates import Sizes, estimate_of
from grao_pipeline.rounds.tasks import Task, Walk
from grao_pipeline.rounds.walk import walk


@dataclass(frozen=True)
class PlannedTask:
    """One task of a plan; its size and cost as in `estimates.Estimate`.

    Attributes:
        state: `done`, `to do` (its inputs are there), or `waits` (for an earlier task).
        inputs: None where an input's place is not known before a model is trained.
        options: all of them, defaults included, by the names that YAML has.
        given: those that are not defaults of the stage.
    """

    name: str
    stage: str
    state: str
    inputs: tuple[str, ...] | None
    out: str | None
    options: dict[str, Any]
    given: dict[str, Any]
    parts_done: int | None = None
    parts: int | None = None
    tokens: int | None = None
    basis: str | None = None
    judge_calls: int | None = None


@dataclass(frozen=True)
class RoundsForecast:
    """What the rounds of a file would do.

    Attributes:
        stops: by variant (empty without a sweep), where the rounds have stopped before the last one, why.
        until: what stops them before the last one; None without a section `until`.
    """

    tasks: list[PlannedTask]
    stops: dict[str, str]
    until: str | None
    notes: list[str]


def plan_tasks(plan: RunPlan) -> tuple[Walk, list[tuple[Task, PlannedTask]]]:
    """Every task, in order, and the walk along them."""
    forecast = Forecast()
    walked = walk(plan, forecast)
    sizes = Sizes(plan.store)
    return walked, [(task, _planned(task, forecast.state(task), sizes)) for task in forecast.tasks]


class Forecast:
    """A `TaskRunner` that runs nothing; the walk continues as if it had, as far as outputs can be named ahead."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self._pending: set[str] = set()

    def __call__(self, task: Task) -> bool:
        self.tasks.append(task)
        if not task.done and task.out is not None:
            self._pending.add(str(task.out))
        return task.done or (task.inputs is not None and not task.stage.known_by_content)

    def state(self, task: Task) -> str:
        if task.done:
            return "done"
        return "waits" if task.inputs is None or self._pending.intersection(task.reads) else "to do"


def _planned(task: Task, state: str, sizes: Sizes) -> PlannedTask:
    out = str(task.out) if task.out else None
    estimate = estimate_of(task, sizes)
    return PlannedTask(
        task.name,
        task.stage.name,
        state,
        task.inputs,
        out,
        task.options.resolved(),
        task.options.given(),
        **vars(estimate),
    )
