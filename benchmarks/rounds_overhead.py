"""What rounds cost beyond sampling, scoring and gradients: with stages that stay, and with a process for every stage.

    OMP_NUM_THREADS=1 python -m benchmarks.rounds_overhead                  # the demo; six minutes on two idle cores
    OMP_NUM_THREADS=1 python -m benchmarks.rounds_overhead --case steps     # rounds of one step; two minutes
    OMP_NUM_THREADS=1 python -m benchmarks.rounds_overhead --case large     # 25 M parameters; fifteen minutes

The work is what the stages' own summaries say that they spent on sampling, on judging and on optimizer steps. All else
is overhead: starting, importing, loading models, advantages, evaluation, checking what is done. CPU seconds are those
of all processes; on a busy machine only they can be compared.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.common import describe_machine, installed_environment, make_model, print_table, write_prompts
from examples.demo.task import write_prompts as write_demo_prompts

DEMO = Path("examples/demo/rounds.yaml")
WORK = ("generate", "score", "train")
"""Stages whose `seconds` are the work."""


def demo_case(root: Path, rounds: int) -> dict[str, Any]:
    """The demo as `make demo` runs it."""
    write_demo_prompts(root / "prompts.jsonl", 500, seed=0)
    subprocess.run([sys.executable, "-m", "examples.demo.base_model", str(root / "base")], check=True)
    config: dict[str, Any] = yaml.safe_load(DEMO.read_text())
    config |= {"model": str(root / "base"), "rounds": rounds}
    config["prompts"]["source"] = str(root / "prompts.jsonl")
    return config


def steps_case(root: Path, rounds: int) -> dict[str, Any]:
    """The demo's model and task; a round trains on 32 prompts in one step, and is not evaluated."""
    config = demo_case(root, rounds)
    config["prompts"] = {"source": str(root / "prompts.jsonl"), "limit": 32}
    del config["evaluate"]
    return config


def large_case(root: Path, rounds: int) -> dict[str, Any]:
    """25 million random parameters; a round takes about a minute on two cores."""
    return {
        "model": str(make_model(root / "base", 384, 8, 8192, 512)),
        "rounds": rounds,
        "prompts": {"train": write_prompts(root / "train", 32, 24, 0), "eval": write_prompts(root / "eval", 8, 24, 1)},
        "generate": {"engine": "transformers", "samples": 8, "max_new_tokens": 96, "temperature": 1.0},
        "score": {"reward": "length", "reward_arg": ["target=200"]},
        "train": {"learning_rate": 1e-5, "groups_per_step": 8},
        "evaluate": {"generate": {"samples": 4}},
    }


CASES = {"demo": demo_case, "steps": steps_case, "large": large_case}


def run(config: Mapping[str, Any], root: Path, executor: str) -> dict[str, float]:
    """Run the rounds in a new process; seconds of the whole, and of the work by stage."""
    output = root / executor
    path = root / f"{executor}.yaml"
    path.write_text(yaml.safe_dump({**config, "output": str(output), "executor": executor}))
    environment = {**installed_environment(), "GRAO_CACHE": str(root / f"{executor}-cache")}
    command = [sys.executable, "-m", "grao_pipeline", "rounds", "run", str(path), "--json"]
    started, cpu = time.perf_counter(), cpu_seconds()
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - started
    if process.returncode != 0:
        raise click.ClickException(process.stderr)
    work = dict.fromkeys(WORK, 0.0)
    for stage in WORK:
        for receipt in (output / "store" / stage).glob("*.receipt.json"):
            work[stage] += float(json.loads(receipt.read_text())["summary"]["seconds"])
    return {"wall": wall, "cpu": cpu_seconds() - cpu, **work}


def cpu_seconds() -> float:
    """Of the processes that this one has started, and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@click.command()
@click.option("--case", type=click.Choice(list(CASES)), default="demo", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--repetitions", default=1, show_default=True, help="Runs of either executor, taking turns.")
def main(case: str, rounds: int, repetitions: int) -> None:
    """Print one table; both executors take turns in one run."""
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        inputs = Path(directory) / "inputs"
        inputs.mkdir()
        config = CASES[case](inputs, rounds)
        for repetition in range(repetitions):
            for executor in ("resident", "local"):
                root = Path(directory) / f"run-{repetition}"
                root.mkdir(exist_ok=True)
                seconds = run(config, root, executor)
                work = sum(seconds[stage] for stage in WORK)
                wall = seconds["wall"]
                parts = [round(seconds[stage], 1) for stage in WORK]
                rows.append(
                    [executor, round(wall, 1), round(seconds["cpu"], 1), *parts, wall / work, (wall - work) / rounds]
                )
    load = os.getloadavg()[0]
    print_table(
        f"{case}, {rounds} rounds. {describe_machine()}; load average at the end {load:.1f}",
        ["executor", "wall s", "CPU s", *(f"{stage} s" for stage in WORK), "wall ÷ work", "overhead s a round"],
        rows,
    )


if __name__ == "__main__":
    main()
