"""`make demo-real`: the real model, the prompts, the rounds; answers of the base model and the last one; a report."""

import os
from importlib.util import find_spec
from pathlib import Path

import click
import polars as pl

from examples.run import run_and_report
from examples.smollm2 import main as make_smollm2
from examples.structured_output.records import NEVER_TRAINED, TRAINED
from examples.structured_output.task import write_prompts
from grao_pipeline import PromptsOptions, build_prompts

CONFIG = "examples/structured_output/rounds.yaml"
MODEL, DATA, RUN = Path("runs/smollm2"), Path("runs/structured-output-data"), Path("runs/structured-output")
REPORT = Path("runs/structured-output-report.html")
NUM_TRAINED, NUM_HELD_OUT, NUM_NEVER_TRAINED = 32, 20, 20
"""Prompts to train on; held-out ones of the same kinds, and of kinds that are never trained on."""


def make_inputs() -> None:
    """Convert the model and make the prompts tables, unless an earlier run did."""
    make_smollm2([str(MODEL)], standalone_mode=False)
    write_prompts(DATA / "train.jsonl", TRAINED, NUM_TRAINED, seed=0)
    write_prompts(DATA / "held-out" / "known.jsonl", TRAINED, NUM_HELD_OUT, seed=1)
    write_prompts(DATA / "held-out" / "new.jsonl", NEVER_TRAINED, NUM_NEVER_TRAINED, seed=2)
    build_prompts(str(DATA / "train.jsonl"), str(DATA / "train"), PromptsOptions())
    build_prompts(str(DATA / "held-out"), str(DATA / "eval"), PromptsOptions())


def show_answers() -> None:
    """Print a held-out prompt of every kind with an answer of the base model and of the last one."""
    names = sorted(path.name for path in RUN.glob("round-*"))
    before, after = (
        pl.read_parquet(RUN / name / "evaluate-generate" / "part-*.parquet") for name in ("base", names[-1])
    )
    shown = set()
    for row, tuned in zip(before.to_dicts(), after.to_dicts(), strict=True):
        question = row["messages"][-1]["content"]
        form = question.splitlines()[1]
        if form not in shown:
            shown.add(form)
            click.echo(f"\n{question}")
            click.echo(f"  base     {row['completions'][0]}")
            click.echo(f"  trained  {tuned['completions'][0]}")


if __name__ == "__main__":
    os.environ.setdefault("ENGINE", "vllm" if find_spec("vllm") else "transformers")
    make_inputs()
    run_and_report(CONFIG, RUN, REPORT, show_answers)
