"""A sweep shares its samples and scores: 3 × 3 values of β and λ on one set of groups, counted and timed.

    python -m benchmarks.sweep

One `grao rounds run` in a separate process, without evaluation. The table counts the tasks that it ran, by stage, and
compares its wall time, process start included, with the sum of the stages' times from their receipts: generate, score
and advantages once, and nine trainings.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
import yaml

from benchmarks.common import describe_machine, make_model, print_table, write_prompts
from grao_pipeline.rounds.overview import status_rounds

BETAS, LAMBDAS = [0.25, 0.5, 1.0], [0.3, 0.6, 0.9]


@click.command()
@click.option("--prompts", "num_prompts", default=48, show_default=True)
@click.option("--max-new-tokens", default=48, show_default=True)
@click.option("--epochs", default=2, show_default=True)
def main(num_prompts: int, max_new_tokens: int, epochs: int) -> None:
    """Print the tasks by stage, and the sweep's wall time against the sum of its parts."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        config = {
            "output": str(root / "run"),
            "model": str(make_model(root / "model", 128, 2, 2048, 512)),
            "prompts": {"train": write_prompts(root / "prompts", num_prompts, 20, 0)},
            "generate": {"engine": "transformers", "samples": 8, "max_new_tokens": max_new_tokens, "temperature": 1.0},
            "score": [{"reward": "length", "reward_arg": ["target=100", "unit=characters"], "use_cache": False}],
            "train": {"learning_rate": 1e-4, "groups_per_step": 16, "epochs": epochs},
            "sweep": {"train.beta": BETAS, "train.lambda": LAMBDAS},
        }
        path = root / "rounds.yaml"
        path.write_text(yaml.safe_dump(config))
        started = time.perf_counter()
        command = [sys.executable, "-m", "grao_pipeline", "rounds", "run", str(path), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        wall = time.perf_counter() - started
        num_tasks = Counter(name.rpartition("/")[2].partition("-")[0] for name in json.loads(done.stdout)["made"])
        seconds: dict[str, float] = {}
        for task in status_rounds(str(path)).tasks:
            assert task.seconds is not None, f"{task.name} has no receipt"
            stage = task.name.rpartition("/")[2].partition("-")[0]
            seconds[stage] = seconds.get(stage, 0.0) + task.seconds
    total = sum(seconds.values())
    rows: list[list[object]] = [[stage, num_tasks[stage], seconds[stage]] for stage in seconds]
    rows += [["sum of these", num_tasks.total(), total], ["the sweep, wall", "", wall]]
    print_table(f"A 3 × 3 sweep ({describe_machine()})", ["stage", "tasks run", "seconds"], rows)
    click.echo(f"wall / sum: {wall / total:.3f}")


if __name__ == "__main__":
    main()
