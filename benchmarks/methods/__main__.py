"""`python -m benchmarks.methods`: train every method on every task, then print the table and draw the plots."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import click

from benchmarks.methods import settings
from benchmarks.methods.methods import METHODS
from benchmarks.methods.results import Results, choose_rate, grid_runs
from benchmarks.methods.runs import judge_base, perform, quieten
from benchmarks.methods.settings import Run
from benchmarks.methods.statistics import MAX_SEEDS
from benchmarks.methods.table import all_results, complete_methods, make_grid, make_table
from benchmarks.methods.tasks import TASKS, Task

RESULTS = Path(__file__).with_name("results.jsonl")
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--results", type=click.Path(path_type=Path, dir_okay=False), default=RESULTS, help="Finished runs.")
@click.option("--out", type=FOLDER, default=Path("runs/methods"), show_default=True, help="Base models.")
@click.option("--seeds", type=click.IntRange(2, MAX_SEEDS), default=5, show_default=True, help="Seeds to report.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes with one thread each.")
@click.option("--tune-only", is_flag=True, help="Stop before the reported seeds.")
@click.option("--only", multiple=True, type=click.Choice([*TASKS, *METHODS]), help="Train only these.")
@click.option("--images", type=FOLDER, default=Path("docs/images"), show_default=True)
def main(results: Path, out: Path, seeds: int, jobs: int, tune_only: bool, only: tuple[str, ...], images: Path) -> None:
    """Compare SFT, DPO, GRPO, GRAO and its ablations. Runs in RESULTS are not done again."""
    tasks = [name for name in TASKS if name in only or not set(only) & set(TASKS)]
    methods = [name for name in METHODS if name in only or not set(only) & set(METHODS)]
    finished = Results(results)
    quieten()
    for task in tasks:
        base = judge_base(task, out)
        if base.run not in finished:
            finished.add(base)
        elif finished[base.run].curve != base.curve:
            raise click.ClickException(f"{results} holds runs from another base model than {out}/base/{task}.")
    pairs = [(task, method) for task in tasks for method in methods]
    _perform([run for pair in pairs for run in grid_runs(*pair)], finished, out, jobs)
    numbers = list(range(settings.FIRST_SEED, settings.FIRST_SEED + seeds))
    if tune_only:
        return
    chosen = {pair: choose_rate(finished, *pair) for pair in pairs}
    _perform([Run(*pair, rate, seed) for seed in numbers for pair, rate in chosen.items()], finished, out, jobs)
    _report(finished, [TASKS[task] for task in tasks], numbers, images)


def _perform(runs: Sequence[Run], finished: Results, out: Path, jobs: int) -> None:
    missing = [run for run in runs if run not in finished]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(perform, run, out) for run in missing]
        for number, future in enumerate(as_completed(futures), start=1):
            result = future.result()
            finished.add(result)
            reward = result.curve[-1]["mean_reward"]
            click.echo(f"{number}/{len(missing)} {result.run.name}: {reward:.3f}, {result.seconds:.1f} s", err=True)


def _report(finished: Results, tasks: Sequence[Task], seeds: Sequence[int], images: Path) -> None:
    """Print the tables, of what is finished; draw a plot of a task where all of its methods are."""
    from benchmarks.methods.plots import plot_curves, plot_shares  # matplotlib, needed only now

    drawn = [task for task in tasks if len(complete_methods(finished, task, seeds)) == len(METHODS)]
    for task in tasks:
        click.echo(f"\n### {task.title}\n\n{make_table(finished, task, seeds)}")
        click.echo(
            f"\nMean held-out reward of the tuning runs, by learning rate:\n\n{make_grid(finished, task, seeds)}"
        )
    for task in drawn:
        plot_curves(finished, task, seeds, images / f"methods-{task.name}.png")
    if len(drawn) == len(TASKS):
        plot_shares(finished, drawn, seeds, images / "methods-shares.png")
    of_tasks = [(task.name, method) for task in tasks for method in complete_methods(finished, task, seeds)]
    tuning = sum(finished[run].seconds for pair in of_tasks for run in grid_runs(*pair))
    final = sum(result.seconds for result in all_results(finished, tasks, seeds))
    click.echo(f"\nCPU time: {tuning / 60:.1f} minutes of tuning runs, {final / 60:.1f} minutes of reported runs.")


if __name__ == "__main__":
    main()
