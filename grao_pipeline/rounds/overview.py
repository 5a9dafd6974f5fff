"""`grao rounds plan`, `status` and `prune`: what is done and what is left, without running anything."""

from dataclasses import dataclass

from grao_pipeline.errors import InputError
from grao_pipeline.models.source import refuse_missing_model
from grao_pipeline.options import input_errors_at
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.rounds.config.compile import load_plan
from grao_pipeline.rounds.config.keep import Keep
from grao_pipeline.rounds.config.plugin_checks import check_plugins
from grao_pipeline.rounds.held_out import notes_on_held_out
from grao_pipeline.rounds.loop import lock_output
from grao_pipeline.rounds.plan import PlannedTask, RoundsForecast, plan_tasks
from grao_pipeline.rounds.prune import PruneSummary, prune
from grao_pipeline.rounds.receipts import Receipts
from grao_pipeline.rounds.results import ModelRow, OriginRow, origins, table
from grao_pipeline.rounds.status import TaskStatus, status_of
from grao_pipeline.storage.places import Url


def plan_rounds(path: str) -> list[PlannedTask]:
    """Every task of a configuration and whether it is done; nothing is made and no model is loaded.

    Example:
        [task.state for task in plan_rounds("rounds.yaml")]
    """
    return forecast_rounds(path).tasks


def forecast_rounds(path: str) -> RoundsForecast:
    """As `plan_rounds`, with where the rounds stop."""
    plan = load_plan(path)
    check_plugins(plan)
    with input_errors_at(plan.source, "model"):
        refuse_missing_model(plan.model)
    walked, tasks = plan_tasks(plan)
    until = str(plan.until) if plan.until else None
    notes = list(notes_on_held_out(plan.prompts))
    return RoundsForecast([planned for _, planned in tasks], walked.stops, until, notes)


@dataclass(frozen=True)
class RunStatus:
    """How far the rounds are.

    Attributes:
        tasks: what each task did, took and cost.
        rows: the models that are evaluated so far.
        origins: how far off-policy the trainings were.
        stops: as in `RunSummary`.
        overlap: whether rounds are sampled while the one before them trains.
    """

    tasks: list[TaskStatus]
    rows: list[ModelRow]
    origins: list[OriginRow]
    stops: dict[str, str]
    overlap: bool


def status_rounds(path: str, progress: Progress = SILENT) -> RunStatus:
    """What is done, what it took, and what came of it so far."""
    plan = load_plan(path)
    walked, tasks = plan_tasks(plan)
    receipts = Receipts(progress)
    states = [status_of(task, planned, receipts) for task, planned in tasks]
    return RunStatus(states, table(walked, receipts), origins(walked, receipts), walked.stops, plan.overlap)


def prune_rounds(path: str, dry_run: bool = False) -> PruneSummary:
    """Delete weights and optimizer states that neither a later round nor the best model needs; as `keep` says."""
    plan = load_plan(path)
    if isinstance(plan.store, Url):
        raise InputError(f"{plan.store} is not a local directory: models are pruned on a local disk.")
    with lock_output(plan.output):
        return prune(plan, plan_tasks(plan)[0], plan.keep or Keep.model_validate({}), dry_run)
