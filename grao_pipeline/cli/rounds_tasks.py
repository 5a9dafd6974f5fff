"""The tasks of the rounds in words: a plan with its totals, commands, options, and what is done."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from grao_pipeline.amounts import some
from grao_pipeline.cli.parameters import command_line
from grao_pipeline.cli.terminal import echo
from grao_pipeline.pipeline import stage_named

if TYPE_CHECKING:
    from grao_pipeline.rounds.plan import PlannedTask
    from grao_pipeline.rounds.status import TaskStatus

WIDTH = 160
"""Of what is printed where there is no terminal."""


def totals(left: Sequence["PlannedTask"]) -> dict[str, int | None]:
    """What is left; None where a task's share is not known before its prompts are made."""

    def total(stage: str, field: str) -> int | None:
        amounts = [getattr(task, field) for task in left if task.stage == stage]
        return None if None in amounts else sum(amounts)

    return {
        "tasks": len(left),
        "tokens_to_sample": total("generate", "tokens"),
        "tokens_to_train": total("train", "tokens"),
        "judge_calls": total("score", "judge_calls"),
    }


def _amount(number: int | None) -> str:
    return "unknown yet" if number is None else f"{number:,}"


def print_resolved(tasks: Sequence["PlannedTask"]) -> None:
    """All options of every task, as YAML."""
    import yaml

    for task in tasks:
        value = {"stage": task.stage, "inputs": list(task.inputs or ()), "out": task.out, "options": task.options}
        echo(yaml.safe_dump({task.name: value}, sort_keys=False, allow_unicode=True, width=WIDTH).rstrip())


def print_commands(left: Sequence["PlannedTask"]) -> None:
    """The commands that are left, quoted for a shell; a comment where none is."""
    if not left:
        echo("# Every task is done: no command is left.")
    known = [task for task in left if task.inputs is not None and task.out is not None]
    for task in known:
        stage = stage_named(task.stage)
        given = stage.options_model.model_validate(task.given)
        echo(shlex.join(command_line(stage, task.inputs or (), task.out or "", given)))
    later = [task.name for task in left if task not in known]
    if later:
        follow = some(len(later), "task follows", "tasks follow")
        echo(f"# {follow}, from {later[0]} on: their places depend on what these commands make.")
        echo("# Then print the commands again.")


def print_plan(tasks: Sequence["PlannedTask"], left: Sequence["PlannedTask"]) -> None:
    """A line for every task, and what is left."""
    width = max((len(task.name) for task in tasks), default=0)
    for task in tasks:
        work = f"{task.tokens:,} tokens" if task.tokens else f"{task.judge_calls:,} calls" if task.judge_calls else ""
        mark = {"bound": "≤ ", "seen": "~ "}.get(task.basis or "", "≤ ") if work else ""
        echo(f"  {task.state:<6} {task.name:<{width}} {_parts(task):>9} {mark + work:>20}  {task.out or ''}".rstrip())
    amounts = totals(left)
    echo(f"{len(tasks) - len(left)} of {len(tasks)} tasks are cached; {len(left)} would run.")
    if left:
        bound = any(task.basis == "bound" for task in left)
        basis = "upper bounds of the completions by max_new_tokens" if bound else "by mean lengths in the store"
        if all(amount is None for name, amount in amounts.items() if name != "tasks"):
            echo("How much there is to sample, judge and train on is known once the prompts are made.")
            return
        echo(
            f"Still to do: tokens to sample: {_amount(amounts['tokens_to_sample'])}, tokens to train on: "
            f"{_amount(amounts['tokens_to_train'])}"
            f"{f' ({basis})' if any(task.tokens for task in left) else ''}; judge calls, at most: "
            f"{_amount(amounts['judge_calls'])}."
        )


def _parts(task: "PlannedTask | TaskStatus") -> str:
    """Parts of a table, or steps of a training, that are done."""
    return f"{task.parts_done}/{task.parts}" if task.parts is not None else ""


def print_states(states: Sequence["TaskStatus"]) -> None:
    """A line for every task: what it did, took and cost."""
    width = max((len(state.name) for state in states), default=0)
    for state in states:
        seconds = f"{state.seconds:8.1f} s" if state.seconds is not None else " " * 10
        facts = {**state.did, **state.cost}
        text = ", ".join(f"{key.replace('_', ' ')} {value:,.6g}" for key, value in facts.items())
        echo(f"  {state.state:<6} {state.name:<{width}} {_parts(state):>9} {seconds}  {text}".rstrip())
