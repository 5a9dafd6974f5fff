"""Options that follow a measurement: their numbers in a round, from what was measured in the rounds before it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import get_args

from grao_pipeline.errors import UsageError
from grao_pipeline.evaluation.record import read_evaluation
from grao_pipeline.models.manifest import METRICS
from grao_pipeline.rounds.config.run_plan import RoundPlan, Settings
from grao_pipeline.rounds.config.schedules import WEIGHT, Measured
from grao_pipeline.rounds.config.until import Until
from grao_pipeline.rounds.tasks import Task
from grao_pipeline.rounds.wiring import RoundState
from grao_pipeline.storage.directory import Directory

OF_EVALUATIONS = get_args(Until.model_fields["metric"].annotation)


def with_measurements(plan: RoundPlan, trained: Sequence[RoundState], evaluations: Mapping[str, Task]) -> RoundPlan:
    """A round with the numbers that follow from the rounds that were trained before.

    Which rounds those are is decided by the plan, not by the clock. Where one of them is not measured yet, the settings
    say that they wait for it.

    Args:
        evaluations: by the name of the round.

    Raises:
        UsageError: a training has no such metric.
    """
    stages = {
        name: [_with_numbers(settings, trained, evaluations) for settings in entries]
        for name, entries in plan.stages.items()
    }
    return replace(plan, stages=stages)


def _with_numbers(settings: Settings, trained: Sequence[RoundState], evaluations: Mapping[str, Task]) -> Settings:
    for measured in settings.measured:
        metric = measured.course.metric
        if metric in OF_EVALUATIONS:
            tasks = [evaluations.get(state.prefix.rstrip("/")) for state in trained]
        else:
            tasks = [state.trained for state in trained]
        done = [task for task in tasks if task is not None and task.done]
        if len(done) < len(tasks):
            return replace(settings, waits_for=metric)
        values = [_value(task, metric, settings, measured) for task in done]
        number = measured.number(measured.course.value([value for value in values if value is not None]))
        settings = _with_number(settings, measured, number)
    return settings


def _value(task: Task, metric: str, settings: Settings, measured: Measured) -> float | None:
    """What was measured; None where nothing defines the metric."""
    if metric in OF_EVALUATIONS:
        evaluation = read_evaluation(str(task.out))
        value = evaluation.metrics.get(metric) if evaluation is not None else None
        return None if value is None else float(value["value"])
    assert task.out is not None
    steps = [json.loads(line) for line in Directory(task.out).read(METRICS).splitlines()]
    known = sorted({name for step in steps for name, value in step.items() if isinstance(value, int | float)})
    if metric not in known and not any(metric in step for step in steps):
        message = f"{task.name} has no metric '{metric}' in its {METRICS}. It has: {', '.join(known)}."
        raise UsageError(settings.source.render(message, measured.option))
    values = [step[metric] for step in steps if isinstance(step.get(metric), int | float)]
    finite = [float(value) for value in values if math.isfinite(value)]
    return fmean(finite) if finite else None


def _with_number(settings: Settings, measured: Measured, number: float) -> Settings:
    if measured.option == WEIGHT:
        return replace(settings, weight=number)
    value: object = number
    if measured.key:
        pairs = settings.options.given()[measured.option]
        assert isinstance(pairs, list)
        start = f"{measured.key}="
        value = [f"{start}{number}" if str(pair).startswith(start) else pair for pair in pairs]
    options = type(settings.options).model_validate({**settings.options.given(), measured.option: value})
    return replace(settings, options=options)
