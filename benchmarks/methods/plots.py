"""The plots, from the finished runs alone: learning curves, and the components' shares of GRAO's loss."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.methods.methods import METHODS, TITLES
from benchmarks.methods.results import Results, curve_of, reported
from benchmarks.methods.statistics import t_interval
from benchmarks.methods.tasks import Task
from grao_pipeline.training.metrics import COMPONENTS

PANELS = {
    "methods": ("sft", "dpo", "grpo", "grpo-offline", "chord", "grao", "grao-stable"),
    "ablations": tuple(name for name in METHODS if name.startswith("grao")),
}
DPI = 80


def plot_curves(finished: Results, task: Task, seeds: Sequence[int], path: Path) -> None:
    """Held-out reward over optimizer steps: mean and 95 % interval over seeds; methods left, ablations right."""
    figure = Figure(figsize=(11, 4))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (title, methods) in zip(axes, PANELS.items(), strict=True):
        for method in methods:
            steps, values = curve_of(finished, reported(finished, task.name, method, seeds), "mean_reward")
            intervals = [t_interval(column) for column in zip(*values, strict=True)]
            means = np.array([interval.mean for interval in intervals])
            halves = np.array([interval.half_width for interval in intervals])
            axis.plot(steps, means, marker="o", markersize=3, label=TITLES[method])
            axis.fill_between(steps, means - halves, means + halves, alpha=0.15)
        axis.set(title=f"{task.title}: {title}", xlabel="optimizer steps", xticks=steps, ylim=(0, 1.02))
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mean reward, held out")
    _save(figure, path)


def plot_shares(finished: Results, tasks: Sequence[Task], seeds: Sequence[int], path: Path) -> None:
    """Each component's share of the loss magnitude, |component| / Σ |components|, over steps: the mean over seeds."""
    figure = Figure(figsize=(11, 3.5))
    axes = figure.subplots(1, len(tasks), sharey=True, squeeze=False)
    for axis, task in zip(axes[0], tasks, strict=True):
        runs = [result.shares for result in reported(finished, task.name, "grao", seeds)]
        for component in COMPONENTS:
            shares = np.array([[np.nan if s[component] is None else s[component] for s in run] for run in runs], float)
            axis.plot(
                range(1, shares.shape[1] + 1), np.nanmean(shares, axis=0), marker="o", markersize=3, label=component
            )
        axis.set(
            title=f"GRAO, {task.title}", xlabel="optimizer step", xticks=range(1, shares.shape[1] + 1, 3), ylim=(0, 1)
        )
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("share of the loss magnitude")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
