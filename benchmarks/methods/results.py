"""The finished runs, lines of one JSONL file, and the learning rate that the tuning runs choose."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from benchmarks.methods import settings
from benchmarks.methods.settings import LEARNING_RATES, TUNING_SEEDS, Run
from benchmarks.methods.tasks import TASKS

DIGITS = 5
"""Of the shares in the file."""


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        seconds: CPU time of training, sampling and judging.
        curve: metrics after every round, each with its `step`; of a base model, those of step 0.
        shares: of a reported run, per step, the components' shares of the loss magnitude; empty for methods without
            components.
    """

    run: Run
    seconds: float
    curve: list[dict[str, float]]
    shares: list[dict[str, float | None]]


class Results:
    """The runs of one file. Its first line says the settings, which all of its runs share.

    Raises:
        click.ClickException: the file holds runs of other settings.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[Run, Result] = {}
        names = [name for name in dir(settings) if name.isupper()]
        now = {name: str(getattr(settings, name)) for name in names}
        lines = path.read_text().splitlines() if path.exists() else []
        if not lines:
            self._append(now)
        elif json.loads(lines[0]) != now:
            raise click.ClickException(f"{path} holds runs of other settings. Name another file.")
        for line in lines[1:]:
            value: dict[str, Any] = json.loads(line)
            result = Result(**{**value, "run": Run(**value["run"])})
            self._results[result.run] = result

    def __contains__(self, run: Run) -> bool:
        return run in self._results

    def __getitem__(self, run: Run) -> Result:
        return self._results[run]

    def add(self, result: Result) -> None:
        """Keep a run; on disk when this returns."""
        self._append(vars(result) | {"run": vars(result.run)})
        self._results[result.run] = result

    def _append(self, value: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(value) + "\n")
            file.flush()
            os.fsync(file.fileno())


def base_run(task: str) -> Run:
    """By which the base model's metrics on the held-out prompts of the reported runs are kept."""
    return Run(task, "base", 0.0, settings.FIRST_SEED)


def grid_runs(task: str, method: str) -> list[Run]:
    """A method's tuning runs."""
    return [Run(task, method, rate, seed) for rate in LEARNING_RATES for seed in TUNING_SEEDS]


def tuning_rewards(results: Results, task: str, method: str) -> dict[float, float]:
    """Learning rate → the mean held-out reward at the end, over the tuning seeds."""
    runs = grid_runs(task, method)
    return {
        rate: fmean(results[run].curve[-1]["mean_reward"] for run in runs if run.learning_rate == rate)
        for rate in LEARNING_RATES
    }


def choose_rate(results: Results, task: str, method: str) -> float:
    """The rate with the highest mean held-out reward at the end; the lowest of equally good ones."""
    rewards = tuning_rewards(results, task, method)
    return max(rewards, key=rewards.__getitem__)


def reported(results: Results, task: str, method: str, seeds: Sequence[int]) -> list[Result]:
    """A method's runs with the chosen rate."""
    rate = choose_rate(results, task, method)
    return [results[Run(task, method, rate, seed)] for seed in seeds]


def is_complete(results: Results, task: str, method: str, seeds: Sequence[int]) -> bool:
    """Whether all tuning runs and all reported runs are there."""
    if not all(run in results for run in grid_runs(task, method)):
        return False
    rate = choose_rate(results, task, method)
    return all(Run(task, method, rate, seed) in results for seed in seeds)


def curve_of(results: Results, runs: Sequence[Result], metric: str) -> tuple[list[int], list[list[float]]]:
    """Steps, from 0 (the base model), and the values of every run at these steps."""
    task = runs[0].run.task
    budget = TASKS[task].budget
    steps = [number * budget.steps for number in range(budget.rounds + 1)]
    start = results[base_run(task)].curve[0][metric]
    return steps, [[start, *(point[metric] for point in run.curve)] for run in runs]
