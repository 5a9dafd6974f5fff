"""`grao rounds run`, `plan` and `status`."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from grao_pipeline.rounds.chain import Task, plan_only, walk
from grao_pipeline.rounds.config import load_config
from grao_pipeline.rounds.execute import Executor, receipt_of
from grao_pipeline.rounds.lock import RunLock
from grao_pipeline.rounds.results import ModelRow, ShardRow, shards, table


@dataclass(frozen=True)
class RunSummary:
    """What a run did and what came of it."""

    output: str
    made: list[str]
    found: list[str]
    rows: list[ModelRow] = field(default_factory=list)


@dataclass(frozen=True)
class TaskState:
    """One task of a plan or status."""

    name: str
    state: str
    """`done`, `to do` (its inputs are there), or `waits` (for an earlier task)."""
    out: str | None
    seconds: float | None


def run_rounds(path: str, notice: Callable[[str], None] = lambda _: None) -> RunSummary:
    """Do what is left of a configuration's rounds.

    Raises:
        GraoError: the configuration or an input is not usable, another process runs it, or a stage failed.
    """
    config = load_config(path)
    with RunLock(config.output):
        executor = Executor(notice)
        walked = walk(config, executor, lambda name, task: _link(config.output / name, task))
    return RunSummary(str(config.output), executor.made, executor.found, table(walked))


def plan_rounds(path: str) -> list[TaskState]:
    """Every task of a configuration and whether it is done; nothing is made and no model is loaded."""
    return [_state(task) for task in walk(load_config(path), plan_only).tasks]


def status_rounds(path: str) -> tuple[list[TaskState], list[ModelRow], list[ShardRow]]:
    """The plan, the table of the models that are evaluated so far, and how far off-policy the trainings were."""
    walked = walk(load_config(path), plan_only)
    return [_state(task) for task in walked.tasks], table(walked), shards(walked)


def _state(task: Task) -> TaskState:
    state = "done" if task.done else "to do" if task.inputs is not None else "waits"
    receipt = receipt_of(task) if task.done else None
    return TaskState(task.name, state, str(task.out) if task.out else None, receipt.seconds if receipt else None)


def _link(link: Path, task: Task) -> None:
    """`OUTPUT/round-0/generate` and so on: a link into the store for every task that is done."""
    assert task.out is not None
    link.parent.mkdir(parents=True, exist_ok=True)
    target = Path(os.path.relpath(task.out, link.parent))
    if link.is_symlink() and Path(os.readlink(link)) == target:
        return
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    temporary.symlink_to(target)
    os.replace(temporary, link)
