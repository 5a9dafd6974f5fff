"""`python -m benchmarks.methods`: train every method on every task, then print the table and draw the plots."""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import click

from benchmarks.methods import settings
from benchmarks.methods.base_models import make_base
from benchmarks.methods.methods import METHODS
from benchmarks.methods.results import choose_rate, grid_runs, path_of, read_result
from benchmarks.methods.runs import perform, quieten
from benchmarks.methods.settings import Run
from benchmarks.methods.statistics import MAX_SEEDS
from benchmarks.methods.table import all_results, make_grid, make_table
from benchmarks.methods.tasks import TASKS


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/methods"), show_default=True
)
@click.option("--seeds", type=click.IntRange(2, MAX_SEEDS), default=5, show_default=True, help="Seeds to report.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes with one thread each.")
@click.option("--tune-only", is_flag=True, help="Stop before the reported seeds.")
@click.option("--only", multiple=True, type=click.Choice([*TASKS, *METHODS]), help="Train only these; no table.")
@click.option(
    "--images", type=click.Path(path_type=Path, file_okay=False), default=Path("docs/images"), show_default=True
)
def main(out: Path, seeds: int, jobs: int, tune_only: bool, only: tuple[str, ...], images: Path) -> None:
    """Compare SFT, DPO, GRPO, GRAO and its ablations. Finished runs in OUT are reused; delete OUT to start again."""
    tasks = [task for name, task in TASKS.items() if name in only or not set(only) & set(TASKS)]
    methods = [name for name in METHODS if name in only or not set(only) & set(METHODS)]
    _refuse_other_settings(out)
    quieten()
    for task in tasks:
        make_base(task, out)
    pairs = [(task.name, method) for task in tasks for method in methods]
    _perform([run for pair in pairs for run in grid_runs(*pair)], out, jobs)
    numbers = list(range(settings.FIRST_SEED, settings.FIRST_SEED + seeds))
    if tune_only:
        return
    chosen = {pair: choose_rate(out, *pair) for pair in pairs}
    _perform([Run(*pair, rate, seed) for seed in numbers for pair, rate in chosen.items()], out, jobs)
    if not only:
        _report(out, numbers, images)


def _perform(runs: Sequence[Run], out: Path, jobs: int) -> None:
    missing = [run for run in runs if not path_of(out, run).exists()]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(perform, run, out): run for run in missing}
        for number, future in enumerate(as_completed(futures), start=1):
            result = future.result()
            reward = result.curve[-1]["mean_reward"]
            click.echo(f"{number}/{len(missing)} {result.run.name}: {reward:.3f}, {result.seconds:.1f} s", err=True)


def _report(out: Path, seeds: Sequence[int], images: Path) -> None:
    from benchmarks.methods.plots import plot_curves, plot_shares  # matplotlib, needed only now

    tasks = list(TASKS.values())
    for task in tasks:
        click.echo(f"\n### {task.title}\n\n{make_table(out, task, seeds)}")
        click.echo(f"\nMean held-out reward of the tuning runs, by learning rate:\n\n{make_grid(out, task)}")
        plot_curves(out, task, seeds, images / f"methods-{task.name}.png")
    plot_shares(out, tasks, seeds, images / "methods-shares.png")
    tuning = sum(read_result(out, run).seconds for t in TASKS for m in METHODS for run in grid_runs(t, m))
    final = sum(result.seconds for result in all_results(out, tasks, seeds))
    click.echo(f"\nCPU time: {tuning / 60:.1f} minutes of tuning runs, {final / 60:.1f} minutes of reported runs.")


def _refuse_other_settings(out: Path) -> None:
    """Results of other settings must not be mixed into one table."""
    names = [name for name in dir(settings) if name.isupper()]
    now = json.dumps({name: str(getattr(settings, name)) for name in names}, indent=1) + "\n"
    path = out / "settings.json"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(now)
    if path.read_text() != now:
        raise click.ClickException(f"{out} holds runs of other settings ({path}). Name another --out.")


if __name__ == "__main__":
    main()
