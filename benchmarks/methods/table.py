"""The table, in Markdown, from the JSON files alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.methods.base_models import METRICS
from benchmarks.methods.methods import METHODS, TITLES
from benchmarks.methods.results import Result, choose_rate, curve_of, read_base, reported, tuning_rewards
from benchmarks.methods.settings import LEARNING_RATES
from benchmarks.methods.statistics import first_step, t_interval
from benchmarks.methods.tasks import Task

HEADER = "| method | learning rate | reward | RAS | NAG, win rate | NAG, net | steps to GRPO's best reward |"


def make_table(out: Path, task: Task, seeds: Sequence[int]) -> str:
    """One row per method: mean ± half of the 95 % t-interval over seeds, after the last step."""
    lines = [HEADER, "|---" * HEADER.count(" |") + "|", _base_row(out, task)]
    target = max(_mean_rewards(out, reported(out, task.name, "grpo", seeds))[1])
    lines += [_row(out, task, method, seeds, target) for method in METHODS]
    return "\n".join(lines)


def all_results(out: Path, tasks: Sequence[Task], seeds: Sequence[int]) -> Iterator[Result]:
    """Every reported run."""
    for task in tasks:
        for method in METHODS:
            yield from reported(out, task.name, method, seeds)


def _base_row(out: Path, task: Task) -> str:
    base = read_base(out, task.name)
    return f"| base model | | {base['mean_reward']:.3f} | {base['ras']:.3f} | | | |"


def _row(out: Path, task: Task, method: str, seeds: Sequence[int], target: float) -> str:
    results = reported(out, task.name, method, seeds)
    intervals = [t_interval([result.curve[-1][metric] for result in results]) for metric in METRICS]
    cells = [f"{interval.mean:.3f} ± {interval.half_width:.3f}" for interval in intervals]
    reached = first_step(*_mean_rewards(out, results), target)
    steps = "not reached" if reached is None else str(reached)
    rate = choose_rate(out, task.name, method)
    return f"| {TITLES[method]} | {rate:g} | {' | '.join(cells)} | {steps} |"


def _mean_rewards(out: Path, results: Sequence[Result]) -> tuple[list[int], list[float]]:
    steps, values = curve_of(out, results, "mean_reward")
    return steps, list(np.mean(values, axis=0))


def make_grid(out: Path, task: Task) -> str:
    """The mean held-out reward at the end of the tuning runs, over their seeds."""
    lines = [
        f"| method | {' | '.join(f'{rate:g}' for rate in LEARNING_RATES)} |",
        "|---" * (len(LEARNING_RATES) + 1) + "|",
    ]
    for method in METHODS:
        rewards = tuning_rewards(out, task.name, method).values()
        lines.append(f"| {TITLES[method]} | {' | '.join(f'{reward:.3f}' for reward in rewards)} |")
    return "\n".join(lines)
