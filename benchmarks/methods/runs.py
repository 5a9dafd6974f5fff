"""One run: train by a method, judge after every round."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.methods.base_models import held_out_rows, judge, make_base
from benchmarks.methods.methods import METHODS
from benchmarks.methods.results import DIGITS, Result, base_run
from benchmarks.methods.settings import Run
from benchmarks.methods.tasks import TASKS, draw_rows
from grao_pipeline.training.metrics import COMPONENTS

TRAINING_SEEDS = 1000
"""The training prompts of a run are drawn with this plus its seed, none of them held out."""


def quieten() -> None:
    """No progress bars; one thread."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def perform(run: Run, out: Path) -> Result:
    """Do a run. The base model must be there; imports are not in its CPU seconds."""
    quieten()
    task = TASKS[run.task]
    base = make_base(task, out)
    held_out = {row["prompt"] for use in ("tuning", "reported") for row in held_out_rows(task, use)}
    size = task.budget.prompts_per_round
    rows = draw_rows(task, size * task.budget.rounds, TRAINING_SEEDS + run.seed, held_out)
    rounds = [rows[number * size : (number + 1) * size] for number in range(task.budget.rounds)]
    use = "tuning" if run.is_tuning else "reported"
    started = time.process_time()
    curve: list[dict[str, float]] = []
    shares: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        models = METHODS[run.method](task, run, base.model, rounds, Path(scratch))
        for number, model in enumerate(models, start=1):
            values = judge(task, base, use, model, Path(scratch) / f"judged-{number}", seed=1 + run.seed)
            curve.append({"step": number * task.budget.steps, **values})
            shares += [] if run.is_tuning else read_shares(model)
    return Result(run, time.process_time() - started, curve, shares)


def judge_base(task: str, out: Path) -> Result:
    """Make the base model, and judge it on the held-out prompts of the reported runs."""
    quieten()
    started = time.process_time()
    base = make_base(TASKS[task], out)
    values = {"step": 0, **base.metrics()}
    return Result(base_run(task), time.process_time() - started, [values], [])


def read_shares(model: Path) -> list[dict[str, Any]]:
    """The components' shares of the loss magnitude, step by step; empty for a model that GRAO did not train."""
    path = model / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    of_grao = [line for line in lines if "exploration_share" in line]
    return [{name: _rounded(line[f"{name}_share"]) for name in COMPONENTS} for line in of_grao]


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, DIGITS)
