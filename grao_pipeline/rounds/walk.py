"""The tasks that a rounds file stands for, each keyed by the fingerprint of its work.

A task's fingerprint needs its inputs' fingerprints. `walk` follows the tasks; where an output is not there and is not
made (a plan), whatever depends on it is known to be work, but not under which fingerprint.
"""

from collections.abc import Callable

from grao_pipeline.errors import InputError
from grao_pipeline.options import input_errors_at
from grao_pipeline.pipeline import stage_named
from grao_pipeline.rounds.config.run_plan import RunPlan
from grao_pipeline.rounds.failures import TaskFailure
from grao_pipeline.rounds.round_graph import Roots, follow
from grao_pipeline.rounds.tasks import Link, Output, Task, TaskRunner, Tasks, Walk
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import open_table


def _raise(variant: str, failure: TaskFailure) -> None:
    raise failure


def walk(
    plan: RunPlan,
    run: TaskRunner,
    link: Link = lambda name, task: None,
    after_round: Callable[[Walk], None] = lambda walked: None,
    after_failure: Callable[[str, TaskFailure], None] = _raise,
) -> Walk:
    """Follow the tasks of a plan, letting `run` make what is missing. What several variants share is one task, named
    after the first of them.

    Args:
        link: is given the names of tasks that are done; a shared one has a name in every variant.
        after_round: is given the tasks so far.
        after_failure: is given the variant whose task failed; where it does not raise, the next variant follows.

    Raises:
        GraoError: an input of the plan is not usable.
    """
    tasks = Tasks(plan.store, run, link)
    prompts, held_out = _prompts(plan, tasks)
    # Known by its place: a task that reads it asks for its content.
    model = tasks.known(plan.model, Provenance("model", plan.model, {}, {}))
    return _follow_all(plan, tasks, Roots(prompts, held_out, model), after_round, after_failure)


def count_tasks(plan: RunPlan) -> int:
    """The number of tasks, fewer of which are needed where the rounds stop early. Nothing is read."""
    tasks = Tasks(plan.store, lambda task: False, lambda name, task: None)
    makes_prompts = plan.prompts.source is not None
    is_split = bool(plan.prompts.settings.options.resolved()["eval_fraction"]) if makes_prompts else plan.prompts.eval
    prompts, held_out, model = (Output(None, None, name) for name in ("train", "eval", "model"))
    walked = _follow_all(
        plan, tasks, Roots(prompts, held_out if is_split else None, model), lambda walked: None, _raise
    )
    return makes_prompts + len(walked.tasks)


def _follow_all(
    plan: RunPlan,
    tasks: Tasks,
    roots: Roots,
    after_round: Callable[[Walk], None],
    after_failure: Callable[[str, TaskFailure], None],
) -> Walk:
    for variant in plan.variants:
        try:
            follow(plan, variant, tasks, roots, after_round)
        except TaskFailure as failure:
            after_failure(variant.name, failure)
            tasks.walk.failures[variant.name] = str(failure)
    return tasks.walk


def _prompts(plan: RunPlan, tasks: Tasks) -> tuple[Output, Output | None]:
    """The prompts to train on, and those to evaluate on."""
    source = plan.prompts
    if source.train is not None:
        where = source.settings.source
        with input_errors_at(where, "train"):
            table = _table(source.train, tasks)
        with input_errors_at(where, "eval"):
            return table, _table(source.eval, tasks) if source.eval else None
    assert source.source is not None
    stage, options = stage_named("prompts"), source.settings.options
    with input_errors_at(source.settings.source, "source"):
        identity = stage.identity_of((source.source,), options, lambda place: Provenance("source", place, {}, {}))
    key = identity.fingerprint
    out = plan.store / stage.name / key
    is_split = bool(options.resolved()["eval_fraction"])
    task = Task(stage.name, stage, source.settings, (source.source,), out, (source.source,), stage.has_finished(out))
    if not tasks.run(task, key):
        return Output(None, None, "train"), Output(None, None, "eval") if is_split else None
    train, held_out = (out / "train", out / "eval") if is_split else (out, None)
    return _table(str(train), tasks), _table(str(held_out), tasks) if held_out else None


def _table(path: str, tasks: Tasks) -> Output:
    reader = open_table(path, "prompts")
    if reader.num_rows == 0:
        raise InputError(f"{path} holds no prompts.")
    return tasks.known(path, Provenance("prompts", reader.fingerprint, {}, {}))
