"""The table, in Markdown, from the finished runs alone."""

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.methods.base_models import METRICS
from benchmarks.methods.methods import METHODS, TITLES
from benchmarks.methods.results import (
    Result,
    Results,
    base_run,
    choose_rate,
    curve_of,
    is_complete,
    reported,
    tuning_rewards,
)
from benchmarks.methods.settings import LEARNING_RATES
from benchmarks.methods.statistics import first_step, t_interval
from benchmarks.methods.tasks import Task

HEADER = "| method | learning rate | reward | RAS | NAG, win rate | NAG, net | steps to GRPO's best reward |"


def complete_methods(finished: Results, task: Task, seeds: Sequence[int]) -> list[str]:
    """The methods whose runs are all there."""
    return [method for method in METHODS if is_complete(finished, task.name, method, seeds)]


def make_table(finished: Results, task: Task, seeds: Sequence[int]) -> str:
    """One row per complete method: mean ± half of the 95 % t-interval over seeds, after the last step."""
    methods = complete_methods(finished, task, seeds)
    lines = [HEADER, "|---" * HEADER.count(" |") + "|", _base_row(finished, task)]
    of_grpo = reported(finished, task.name, "grpo", seeds) if "grpo" in methods else []
    target = max(_mean_rewards(finished, of_grpo)[1]) if of_grpo else None
    lines += [_row(finished, task, method, seeds, target) for method in methods]
    missing = [TITLES[method] for method in METHODS if method not in methods]
    lines += ["", f"Not finished: {'; '.join(missing)}."] if missing else []
    return "\n".join(lines)


def all_results(finished: Results, tasks: Sequence[Task], seeds: Sequence[int]) -> Iterator[Result]:
    """Every reported run."""
    for task in tasks:
        for method in complete_methods(finished, task, seeds):
            yield from reported(finished, task.name, method, seeds)


def _base_row(finished: Results, task: Task) -> str:
    base = finished[base_run(task.name)].curve[0]
    return f"| base model | | {base['mean_reward']:.3f} | {base['ras']:.3f} | | | |"


def _row(finished: Results, task: Task, method: str, seeds: Sequence[int], target: float | None) -> str:
    results = reported(finished, task.name, method, seeds)
    intervals = [t_interval([result.curve[-1][metric] for result in results]) for metric in METRICS]
    cells = [f"{interval.mean:.3f} ± {interval.half_width:.3f}" for interval in intervals]
    reached = None if target is None else first_step(*_mean_rewards(finished, results), target)
    steps = str(reached) if reached is not None else "" if target is None else "not reached"
    rate = choose_rate(finished, task.name, method)
    return f"| {TITLES[method]} | {rate:g} | {' | '.join(cells)} | {steps} |"


def _mean_rewards(finished: Results, results: Sequence[Result]) -> tuple[list[int], list[float]]:
    steps, values = curve_of(finished, results, "mean_reward")
    return steps, list(np.mean(values, axis=0))


def make_grid(finished: Results, task: Task, seeds: Sequence[int]) -> str:
    """The mean held-out reward at the end of the tuning runs, over their seeds; of the complete methods."""
    lines = [
        f"| method | {' | '.join(f'{rate:g}' for rate in LEARNING_RATES)} |",
        "|---" * (len(LEARNING_RATES) + 1) + "|",
    ]
    for method in complete_methods(finished, task, seeds):
        rewards = tuning_rewards(finished, task.name, method).values()
        lines.append(f"| {TITLES[method]} | {' | '.join(f'{reward:.3f}' for reward in rewards)} |")
    return "\n".join(lines)
