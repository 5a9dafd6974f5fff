"""What each task of a configuration did, took and cost."""

from dataclasses import dataclass
from typing import Any

from grao_pipeline.rounds.execute import receipt_of
from grao_pipeline.rounds.plan import PlannedTask
from grao_pipeline.rounds.walk import Task

DID = {
    "prompts": ("read", "kept"),
    "curriculum": ("prompts", "retired_solved", "retired_hopeless"),
    "generate": ("groups", "samples", "tokens"),
    "score": ("samples", "references_scored", "mean_reward"),
    "advantages": ("groups", "trained_groups", "trained_samples", "zero_variance_groups"),
    "train": ("groups_trained", "steps", "skipped_steps", "final_objective"),
    "evaluate": ("prompts", "unpaired_prompts"),
}
"""Keys of the stages' summaries, as far as they are in them."""
COSTS = {
    "generate": {"tokens_sampled": "tokens"},
    "score": {"judgements": "cache_misses", "judge_tokens": "tokens_spent"},
    "train": {"tokens_trained": "tokens"},
}


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


def status_of(task: Task, planned: PlannedTask) -> TaskStatus:
    """The plan's line of a task, with its receipt."""
    receipt = receipt_of(task) if planned.state == "done" else None
    summary = receipt.summary if receipt else {}
    did = {key: summary[key] for key in DID.get(task.stage, ()) if summary.get(key) is not None}
    cost = {name: int(summary[key]) for name, key in COSTS.get(task.stage, {}).items() if key in summary}
    seconds = receipt.seconds if receipt else None
    return TaskStatus(planned.name, planned.state, planned.out, planned.parts_done, planned.parts, seconds, did, cost)
