"""The loop of a run: every task that is left, one after another, and links to what they made."""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from grao_pipeline.models.source import fetch_model
from grao_pipeline.options import input_errors_at
from grao_pipeline.processes import StopSignals
from grao_pipeline.progress import Progress
from grao_pipeline.rounds.config.keys import LOCK
from grao_pipeline.rounds.config.plugin_checks import check_plugins
from grao_pipeline.rounds.config.run_plan import RunPlan
from grao_pipeline.rounds.disk_usage import size_text
from grao_pipeline.rounds.execute import Runner
from grao_pipeline.rounds.executors.base import Commands
from grao_pipeline.rounds.failures import TaskFailure
from grao_pipeline.rounds.held_out import notes_on_held_out
from grao_pipeline.rounds.lane import Lane
from grao_pipeline.rounds.prune import prune
from grao_pipeline.rounds.receipts import Receipts
from grao_pipeline.rounds.results import ModelRow, table
from grao_pipeline.rounds.tasks import Task, Walk
from grao_pipeline.rounds.walk import count_tasks, walk
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.locks import DirectoryLock
from grao_pipeline.storage.object_lock import ObjectLock
from grao_pipeline.storage.one_output import refuse_other_outputs
from grao_pipeline.storage.outside_errors import refused
from grao_pipeline.storage.places import Place, Url
from grao_pipeline.tracking.following import followed

ACTIVITY = "being run"
LINK = ".link"
"""End of the name of a file that stands for a link."""


@dataclass(frozen=True)
class RunSummary:
    """What a run did and what came of it."""

    output: str
    made: list[str]
    found: list[str]
    rows: list[ModelRow] = field(default_factory=list)
    stops: dict[str, str] = field(default_factory=dict)
    """By variant (empty without a sweep), why its rounds stopped before the last one."""
    failures: dict[str, str] = field(default_factory=dict)
    """By variant, which of its tasks failed; the other variants went on."""

    def newest_models(self) -> list[str]:
        """The place of the last evaluated model, of every variant; at a URL the link to it."""
        newest = {row.variant: row.name for row in self.rows if row.name != "base"}
        end = LINK if "://" in self.output else ""
        return [os.path.join(self.output, variant, name, f"train{end}") for variant, name in newest.items()]


def run_plan(plan: RunPlan, commands: Commands, progress: Progress, log_to: Sequence[str] = ()) -> RunSummary:
    """Do what is left of a plan.

    Args:
        commands: run the stages.
        log_to: see `run_rounds`.

    Raises:
        GraoError: see `run_rounds`.
    """
    with input_errors_at(plan.source, "output"):
        refuse_other_outputs(str(plan.output), Directory(str(plan.output)).names(), "run")
    check_plugins(plan)
    with input_errors_at(plan.source, "model"):
        fetch_model(plan.model)  # before the first stage, rather than after it
    for note in notes_on_held_out(plan.prompts):
        progress.note(f"note: {note}")
    with lock_output(plan.output), StopSignals() as signals, closing(Lane(plan.executor)) as lane:
        runner = Runner(commands, plan.resources, signals, progress, count_tasks(plan), lane)
        with runner.bar, followed(str(plan.output), log_to, progress):
            link = partial(_link_when_made, runner, plan.output)
            after_failure = partial(_after_failure, plan, progress)
            walked = walk(plan, runner, link, partial(_keep, plan, progress), after_failure)
            runner.finish()
        _keep(plan, progress, walked, is_over=not walked.failures)
    rows = table(walked, Receipts(progress))
    return RunSummary(str(plan.output), runner.made, runner.found, rows, walked.stops, walked.failures)


def lock_output(output: Place) -> DirectoryLock | ObjectLock:
    """Keeps another process from running the same rounds."""
    if isinstance(output, Url):
        return ObjectLock(Directory(output), LOCK, ACTIVITY)
    return DirectoryLock(output, LOCK, ACTIVITY)


def _keep(plan: RunPlan, progress: Progress, walked: Walk, is_over: bool = False) -> None:
    """What `keep` says, after a round: only at the end where variants may share models that another one still needs."""
    if plan.keep is None or (len(plan.variants) > 1 and not is_over):
        return
    summary = prune(plan, walked, plan.keep)
    if summary.pruned:
        progress.note(f"deleted weights or optimizer of {', '.join(summary.pruned)}: {size_text(summary.bytes)}")


def _after_failure(plan: RunPlan, progress: Progress, variant: str, failure: TaskFailure) -> None:
    if len(plan.variants) == 1:
        raise failure
    progress.note(f"{variant}: ends here, since a task of it failed; the other variants go on")


def _link_when_made(runner: Runner, output: Place, name: str, task: Task) -> None:
    runner.when_made(task, lambda: _link(output / name, task))


def _link(link: Place, task: Task) -> None:
    """`OUTPUT/round-0/generate` and so on: a link into the store for every task that is done. Where one of them is at a
    URL it is a file with the place, `generate.link`."""
    assert task.out is not None
    if isinstance(link, Url) or isinstance(task.out, Url):
        directory, name, text = Directory(link.parent), f"{link.name}{LINK}", f"{task.out}\n".encode()
        if not directory.exists(name) or directory.read(name) != text:
            directory.write(name, text)
        return
    target = Path(os.path.relpath(task.out, link.parent))
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink() and Path(os.readlink(link)) == target:
            return
        temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)  # of a killed run; the lock keeps others out
        temporary.symlink_to(target)
        os.replace(temporary, link)
    except OSError as error:
        raise refused("link", str(link), error) from error
