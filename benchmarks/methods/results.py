"""The finished runs of an output folder, and the learning rate that the tuning runs choose."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.methods.settings import LEARNING_RATES, TUNING_SEEDS, Run
from benchmarks.methods.tasks import TASKS


@dataclass(frozen=True)
class Result:
    """A finished run, as its JSON file has it.

    Attributes:
        seconds: CPU time of training, sampling and judging.
        curve: metrics after every round, each with its `step`.
        shares: per step, the components' shares of the loss magnitude; empty for methods without components.
    """

    run: Run
    seconds: float
    curve: list[dict[str, float]]
    shares: list[dict[str, float | None]]


def path_of(out: Path, run: Run) -> Path:
    """The JSON file of a run."""
    return out / "runs" / f"{run.name}.json"


def write_result(out: Path, result: Result) -> None:
    """Write a run's JSON file, whole or not at all."""
    path = path_of(out, result.run)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(vars(result) | {"run": vars(result.run)}, indent=1) + "\n")
    partial.replace(path)


def read_result(out: Path, run: Run) -> Result:
    """The result of a finished run."""
    value: dict[str, Any] = json.loads(path_of(out, run).read_text())
    return Result(**{**value, "run": Run(**value["run"])})


def read_base(out: Path, task: str) -> dict[str, float]:
    """The base model's metrics on the held-out prompts of the reported runs."""
    values: dict[str, float] = json.loads((out / "base" / task / "reported.json").read_text())
    return values


def grid_runs(task: str, method: str) -> list[Run]:
    """A method's tuning runs."""
    return [Run(task, method, rate, seed) for rate in LEARNING_RATES for seed in TUNING_SEEDS]


def tuning_rewards(out: Path, task: str, method: str) -> dict[float, float]:
    """Learning rate → the mean held-out reward at the end, over the tuning seeds."""
    results = [read_result(out, run) for run in grid_runs(task, method)]
    return {
        rate: fmean(result.curve[-1]["mean_reward"] for result in results if result.run.learning_rate == rate)
        for rate in LEARNING_RATES
    }


def choose_rate(out: Path, task: str, method: str) -> float:
    """The rate with the highest mean held-out reward at the end; the lowest of equally good ones."""
    rewards = tuning_rewards(out, task, method)
    return max(rewards, key=rewards.__getitem__)


def reported(out: Path, task: str, method: str, seeds: Sequence[int]) -> list[Result]:
    """A method's runs with the chosen rate."""
    rate = choose_rate(out, task, method)
    return [read_result(out, Run(task, method, rate, seed)) for seed in seeds]


def curve_of(out: Path, results: Sequence[Result], metric: str) -> tuple[list[int], list[list[float]]]:
    """Steps, from 0 (the base model), and the values of every run at these steps."""
    budget = TASKS[results[0].run.task].budget
    steps = [number * budget.steps for number in range(budget.rounds + 1)]
    start = read_base(out, results[0].run.task)[metric]
    return steps, [[start, *(point[metric] for point in result.curve)] for result in results]
