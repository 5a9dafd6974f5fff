"""`grao rounds run`, `plan` and `status`."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from grao_pipeline.cli.command import ConsoleProgress, json_option, print_summary, run_stage
from grao_pipeline.options import StageOptions

COLUMNS = {"mean_reward": "mean reward", "ras": "RAS", "nag_win_rate": "NAG win rate", "nag_net": "NAG net"}
FOLDED = {"evaluate-generate": "evaluate", "evaluate-score": "evaluate"}


@click.group()
def rounds() -> None:
    """Run generate → score → advantages → train → evaluate in rounds.

    \b
    Example:
      grao rounds run examples/demo/rounds.yaml
    """


@rounds.command()
@click.argument("config")
@json_option
def run(config: str, as_json: bool) -> None:
    """Do what is left of the rounds, and show what came of them.

    Finished work is found by its fingerprint and reused; the same command goes on after any interruption.

    \b
    Example:
      grao rounds run examples/demo/rounds.yaml
    """

    def call() -> Any:
        from grao_pipeline.rounds.run import run_rounds

        return run_rounds(config, ConsoleProgress())

    summary = _call(call)
    if as_json:
        print_summary(summary, True, "")
        return
    if not summary.made:
        click.echo(f"Everything is done already: {len(summary.found)} tasks found in {summary.output}.")
    else:
        click.echo(f"{len(summary.made)} tasks made, {len(summary.found)} found in {summary.output}.")
    _print_table(summary.rows)


@rounds.command()
@click.argument("config")
@click.option("--commands", is_flag=True, help="Print the commands that are left, as far as they are known.")
@json_option
def plan(config: str, commands: bool, as_json: bool) -> None:
    """Say what is cached, and what would run and cost. Makes nothing, loads no model.

    \b
    Example:
      grao rounds plan examples/demo/rounds.yaml
      grao rounds plan examples/demo/rounds.yaml --commands > work.sh
    """

    def call() -> Any:
        from grao_pipeline.rounds.run import plan_rounds

        return plan_rounds(config)

    tasks = _call(call)
    left = [task for task in tasks if task.state != "done"]
    if as_json:
        print_summary({"tasks": [asdict(task) for task in tasks], "totals": _totals(left)}, True, "")
    elif commands:
        _print_commands(left)
    else:
        _print_plan(tasks, left)


@rounds.command()
@click.argument("config")
@json_option
def status(config: str, as_json: bool) -> None:
    """Show what is done, what it took, and the metrics so far.

    \b
    Example:
      grao rounds status examples/demo/rounds.yaml
    """

    def call() -> Any:
        from grao_pipeline.rounds.run import status_rounds

        return status_rounds(config)

    states, rows, origins = _call(call)
    if as_json:
        value = {"tasks": [asdict(state) for state in states], "rows": [asdict(row) for row in rows]}
        print_summary({**value, "origins": [asdict(origin) for origin in origins]}, True, "")
        return
    _print_states(states)
    if any(origin.report["rounds_behind"] for origin in origins):  # replay
        kept = [{k: v for k, v in s.report.items() if k not in ("policy", "groups_table")} for s in origins]
        rows_of_origins = [{"training": s.training, **report} for s, report in zip(origins, kept, strict=True)]
        print_summary({"groups of each training": rows_of_origins}, False, "Replay:")
    _print_table(rows)


def _call(call: Callable[[], Any]) -> Any:
    return run_stage(StageOptions, {}, lambda _: call())


def _totals(left: list[Any]) -> dict[str, int]:
    def total(stage: str, key: str) -> int:
        return sum(getattr(task, key) or 0 for task in left if task.name.endswith(stage))

    return {
        "tasks": len(left),
        "tokens_to_sample": total("generate", "tokens"),
        "tokens_to_train": total("train", "tokens"),
        "judge_calls": sum(task.judge_calls or 0 for task in left),
    }


def _print_commands(left: list[Any]) -> None:
    for task in left:
        if task.command is not None:
            click.echo(task.command)
    later = [task.name for task in left if task.command is None]
    if later:
        click.echo(f"# {len(later)} tasks follow, from {later[0]} on: their places depend on what these commands make.")
        click.echo("# Then print the commands again.")


def _print_plan(tasks: list[Any], left: list[Any]) -> None:
    for task in tasks:
        work = f"{task.tokens:,} tokens" if task.tokens else f"{task.judge_calls:,} calls" if task.judge_calls else ""
        mark = {"bound": "≤ ", "seen": "~ "}.get(task.basis, "≤ ") if work else ""
        click.echo(f"  {task.state:<6} {task.name:<28} {_parts(task):>9} {mark + work:>20}  {task.out or ''}")
    totals = _totals(left)
    click.echo(f"{len(tasks) - len(left)} of {len(tasks)} tasks are cached; {len(left)} would run.")
    if left:
        bound = any(task.basis == "bound" for task in left)
        click.echo(
            f"Still to do: {totals['tokens_to_sample']:,} tokens to sample, {totals['tokens_to_train']:,} to train on "
            f"({'upper bounds of the completions by max_new_tokens' if bound else 'by mean lengths in the store'}); "
            f"at most {totals['judge_calls']:,} judge calls."
        )


def _parts(task: Any) -> str:
    """Parts of a table, or steps of a training, that are there."""
    return f"{task.parts_done}/{task.parts}" if task.parts is not None else ""


def _print_states(states: list[Any]) -> None:
    for state in states:
        seconds = f"{state.seconds:8.1f} s" if state.seconds is not None else " " * 10
        facts = {**state.did, **state.cost}
        told = ", ".join(f"{key.replace('_', ' ')} {value:,.6g}" for key, value in facts.items())
        click.echo(f"  {state.state:<6} {state.name:<28} {_parts(state):>9} {seconds}  {told}")


def _print_table(rows: list[Any]) -> None:
    """One line per model: metrics with their intervals, then seconds per stage."""
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table

    grid = Table(title="Held-out prompts, with bootstrap intervals; seconds per stage")
    variants = any(row.variant for row in rows)
    if variants:
        grid.add_column("variant")
    grid.add_column("model", no_wrap=True)
    for title in COLUMNS.values():
        grid.add_column(title, no_wrap=True)
    stages = ["generate", "score", "advantages", "train", "evaluate"]
    for stage in stages:
        grid.add_column(stage, justify="right", no_wrap=True)
    for row in rows:
        seconds = _seconds_by_stage(row.seconds)
        cells = [_interval(row.metrics.get(name)) for name in COLUMNS]
        grid.add_row(
            *([row.variant or "all"] if variants else []),
            row.name,
            *cells,
            *(f"{seconds[stage]:.1f}" if stage in seconds else "–" for stage in stages),
        )
    Console(width=160).print(grid)


def _seconds_by_stage(seconds: dict[str, float | None]) -> dict[str, float]:
    total: dict[str, float] = {}
    for name, value in seconds.items():
        stage = FOLDED.get(name, "score" if name.startswith("score-") else name)
        total[stage] = total.get(stage, 0.0) + (value or 0.0)
    return total


def _interval(metric: dict[str, Any] | None) -> str:
    if metric is None:
        return "–"
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


if __name__ == "__main__":
    rounds()
