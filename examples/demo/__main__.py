"""`make demo`: write the prompts, make the base model, run three rounds, show the results, write the report."""

import subprocess
import sys
from pathlib import Path

import click
import polars as pl

from examples.demo.task import write_prompts
from examples.run import run_and_report

CONFIG = "examples/demo/rounds.yaml"
PROMPTS, BASE, RUN = Path("runs/demo-prompts.jsonl"), Path("runs/demo-base"), Path("runs/demo")
REPORT = Path("runs/demo-report.html")
NUM_PROMPTS = 500


def make_inputs() -> None:
    """Write the prompts and the base model, unless an earlier run did."""
    if not PROMPTS.is_file():
        PROMPTS.parent.mkdir(exist_ok=True)
        write_prompts(PROMPTS, NUM_PROMPTS, seed=0)
    if not (BASE / "config.json").is_file():
        click.echo("── base model: pre-training a small Qwen2 on answers that are mostly wrong", err=True)
        subprocess.run([sys.executable, "-m", "examples.demo.base_model", str(BASE)], check=True)


def show_answers(num: int = 3) -> None:
    """Print the first held-out prompts with an answer of the base model and of the last one."""
    before, after = (
        pl.read_parquet(RUN / name / "evaluate-generate" / "part-000000.parquet") for name in ("base", "round-2")
    )
    for row, tuned in zip(before.head(num).to_dicts(), after.head(num).to_dicts(), strict=True):
        click.echo(f"\n{row['messages'][0]['content']}")
        click.echo(f"  reference  {row['reference']}")
        click.echo(f"  base       {row['completions'][0]}")
        click.echo(f"  round 2    {tuned['completions'][0]}")


if __name__ == "__main__":
    make_inputs()
    run_and_report(CONFIG, RUN, REPORT, show_answers)
