"""What each task of a configuration did, took and cost."""

from dataclasses import dataclass
from typing import Any

from grao_pipeline.rounds.plan import PlannedTask
from grao_pipeline.rounds.receipts import Receipts
from grao_pipeline.rounds.tasks import Task


@dataclass(frozen=True)
class TaskStatus:
    """One task of a status.

    Attributes:
        seconds, did, cost: of the process that finished it; None and empty where another than `rounds run` did.
    """

    name: str
    state: str
    out: str | None
    parts_done: int | None
    parts: int | None
    seconds: float | None
    did: dict[str, Any]
    cost: dict[str, int]


def status_of(task: Task, planned: PlannedTask, receipts: Receipts) -> TaskStatus:
    """The plan's line of a task, with its receipt."""
    receipt = receipts.of(task) if planned.state == "done" else None
    summary = receipt.summary if receipt else {}
    did = {key: summary[key] for key in task.stage.did if summary.get(key) is not None}
    cost = {name: int(summary[key]) for name, key in task.stage.costs.items() if key in summary}
    seconds = receipt.seconds if receipt else None
    return TaskStatus(planned.name, planned.state, planned.out, planned.parts_done, planned.parts, seconds, did, cost)
