"""`grao rounds run`, `plan`, `status`, `prune`, `init` and `schema`."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grao_pipeline.amounts import some
from grao_pipeline.cli.command import CommandGroup, errors_for_people, json_option
from grao_pipeline.cli.console import current_progress
from grao_pipeline.cli.rounds_tasks import WIDTH, print_commands, print_plan, print_resolved, print_states, totals
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.cli.terminal import echo, visible
from grao_pipeline.pipeline import stages
from grao_pipeline.tracking.options import LOG_TO_HELP

if TYPE_CHECKING:
    from grao_pipeline.rounds.loop import RunSummary
    from grao_pipeline.rounds.results import ModelRow

METRICS = {"mean_reward": "mean reward", "ras": "RAS", "nag_win_rate": "NAG win rate", "nag_net": "NAG net"}
WIDE = 150
"""Columns that a line of results needs."""


@click.group(cls=CommandGroup)
def rounds() -> None:
    """Run generate → score → advantages → train → evaluate in rounds.

    \b
    Examples:
      grao rounds init
      grao rounds run examples/demo/rounds.yaml
    """


@rounds.command()
@click.argument("config")
@click.option("--log-to", multiple=True, help=LOG_TO_HELP)
@json_option
def run(config: str, log_to: Sequence[str], as_json: bool) -> None:
    """Do what is left of the rounds, and show the results.

    Finished work is found by its fingerprint and reused; run the same command to resume after any interruption.

    \b
    Example:
      grao rounds run examples/demo/rounds.yaml
    """
    with errors_for_people():
        from grao_pipeline.rounds.failures import raise_failures
        from grao_pipeline.rounds.run import run_rounds

        summary = run_rounds(config, current_progress(), log_to=log_to)
    if as_json:
        print_summary(summary, True, "")
    else:
        print_run(summary)
    with errors_for_people():
        raise_failures(summary.failures)


def print_run(summary: "RunSummary") -> None:
    """What was made, and the results so far."""
    if not summary.made and not summary.failures:
        echo(f"Everything is done already: {some(len(summary.found), 'task', 'tasks')} found in {summary.output}.")
    else:
        tasks = some(len(summary.made), "task", "tasks")
        echo(f"{tasks} made, {len(summary.found)} found in {summary.output}.")
    print_results(summary.rows)
    print_stops(summary.stops)
    for place in summary.newest_models():
        echo(f"Newest model: {place}")


@rounds.command()
@click.argument("config")
@click.option("--commands", is_flag=True, help="Print the commands that are left, as far as they are known.")
@click.option("--resolved", is_flag=True, help="Print all options of every task, defaults included, as YAML.")
@json_option
def plan(config: str, commands: bool, resolved: bool, as_json: bool) -> None:
    """Say what is cached, and what would run and cost. Makes nothing, loads no model.

    \b
    Examples:
      grao rounds plan examples/demo/rounds.yaml
      grao rounds plan examples/demo/rounds.yaml --resolved
      grao rounds plan examples/demo/rounds.yaml --commands > work.sh
    """
    with errors_for_people():
        from grao_pipeline.rounds.overview import forecast_rounds

        forecast = forecast_rounds(config)
    tasks = forecast.tasks
    left = [task for task in tasks if task.state != "done"]
    if as_json:
        value = {"tasks": [asdict(task) for task in tasks], "totals": totals(left)}
        more = {"until": forecast.until, "stops": forecast.stops, "notes": forecast.notes}
        print_summary({**value, **more}, True, "")
    elif resolved:
        print_resolved(tasks)
    elif commands:
        print_commands(left)
    else:
        print_plan(tasks, left)
        print_stops(forecast.stops)
        if left and forecast.until:
            echo(f"Fewer rounds are run where {forecast.until}.")
        for note in forecast.notes:
            echo(f"note: {visible(note)}")


@rounds.command()
@click.argument("config")
@json_option
def status(config: str, as_json: bool) -> None:
    """Show what is done, what it took, and the metrics so far.

    \b
    Example:
      grao rounds status examples/demo/rounds.yaml
    """
    with errors_for_people():
        from grao_pipeline.rounds.overview import status_rounds

        so_far = status_rounds(config, current_progress())
    if as_json:
        print_summary(so_far, True, "")
        return
    origins = so_far.origins
    print_states(so_far.tasks)
    if so_far.overlap or any(origin.report["rounds_behind"] for origin in origins):  # replay
        hidden = ("policy", "groups_table")
        shown = [
            {"training": origin.training, **{k: v for k, v in origin.report.items() if k not in hidden}}
            for origin in origins
        ]
        print_summary({"groups of each training": shown}, False, "Off-policy:")
    print_results(so_far.rows)
    print_stops(so_far.stops)


@rounds.command()
@click.argument("config")
@click.option("--dry-run", is_flag=True, help="Delete nothing; say what would be deleted.")
@json_option
def prune(config: str, dry_run: bool, as_json: bool) -> None:
    """Delete weights and optimizer states that neither a later round nor the best model needs.

    What `keep` in the YAML says, by default {models: best+last}. Metrics, provenance and tables stay, and nothing is
    regenerated.

    \b
    Example:
      grao rounds prune examples/demo/rounds.yaml --dry-run
    """
    with errors_for_people():
        from grao_pipeline.rounds.overview import prune_rounds

        summary = prune_rounds(config, dry_run)
    print_summary(summary, as_json, "Dry run: pruned" if dry_run else "Pruned")


@rounds.command()
@click.argument("template", default="start")
@click.option("--out", default="rounds.yaml", show_default=True, help="File to write; an existing one is kept.")
@json_option
def init(template: str, out: str, as_json: bool) -> None:
    """Write a commented rounds file to start from.

    TEMPLATE is start (a verifiable reward), judge (a language model as judge) or sweep (a grid over β and λ).

    \b
    Examples:
      grao rounds init
      grao rounds init judge --out judge.yaml
    """
    with errors_for_people():
        from grao_pipeline.rounds.config.templates import write_template

        path = write_template(template, Path(out))
    title = f"Next: edit {path}, then grao rounds plan {path}"
    print_summary({"template": template, "file": str(path)}, as_json, title)


@rounds.command()
@click.option("--out", help="File to write, e.g. rounds.schema.json; standard output by default.")
def schema(out: str | None) -> None:
    """Print the JSON schema of a rounds file, for completion and checks in an editor.

    In the YAML: # yaml-language-server: $schema=rounds.schema.json

    \b
    Example:
      grao rounds schema --out rounds.schema.json
    """
    with errors_for_people():
        from grao_pipeline.rounds.config.json_schema import rounds_schema

        text = json.dumps(rounds_schema(), indent=1)
        if out is not None:
            Path(out).write_text(text + "\n", "utf-8")
            return
    echo(text)


def print_results(rows: Sequence["ModelRow"]) -> None:
    """One line per model: metrics with their intervals, then seconds per stage; two tables on a narrow terminal."""
    if not rows:
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    seconds = [_seconds_by_stage(row.seconds) for row in rows]
    timed = [stage.name for stage in stages() if any(stage.name in of_row for of_row in seconds)]
    names = [(row.variant or "all", row.name) for row in rows]
    metrics = [[_interval(row.metrics.get(name)) for name in METRICS] for row in rows]
    times = [[f"{of_row[name]:.1f}" if name in of_row else "–" for name in timed] for of_row in seconds]
    console = Console(width=shutil.get_terminal_size((WIDTH, 24)).columns)

    def show(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        grid = Table(title=title, box=box.SIMPLE_HEAD, padding=0)
        has_variants = any(row.variant for row in rows)
        for column in [*(["variant"] if has_variants else []), "model", *columns]:
            grid.add_column(column, justify="right" if column in timed else "left", overflow="fold")
        for name, line in zip(names, cells, strict=True):
            grid.add_row(*map(visible, name[0 if has_variants else 1 :]), *line)
        console.print(grid)

    title = "Held-out prompts, with bootstrap intervals"
    if console.width >= WIDE:
        both = [[*one, *other] for one, other in zip(metrics, times, strict=True)]
        show(f"{title}; seconds per stage", [*METRICS.values(), *timed], both)
        return
    show(title, list(METRICS.values()), [[cell.replace(" [", "\n[") for cell in line] for line in metrics])
    show("Seconds per stage", timed, times)


def print_stops(stops: Mapping[str, str]) -> None:
    """A line for every variant whose rounds stopped before the last one."""
    for variant, reason in stops.items():
        echo(f"{visible(variant)}: {reason}." if variant else f"{reason[0].upper()}{reason[1:]}.")


def _seconds_by_stage(seconds: dict[str, float | None]) -> dict[str, float]:
    """`score-gsm8k` counts as `score`, `evaluate-generate` as `evaluate`. A stage whose time is not known has none."""
    total: dict[str, float] = {}
    for name, value in seconds.items():
        stage = name.partition("-")[0]
        if value is not None:
            total[stage] = total.get(stage, 0.0) + value
    return total


def _interval(metric: Mapping[str, float] | None) -> str:
    if metric is None:
        return "–"
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"
