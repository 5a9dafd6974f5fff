"""Seconds from the start of a process to a held-out reward: resident rounds against TRL's GRPO trainer.

    OMP_NUM_THREADS=2 python -m benchmarks.time_to_reward       # 5 seeds; five minutes on two idle cores

The task, base model, prompts, samples a prompt, groups a step and optimizer are those of `benchmarks.methods`
(imperfect references), the learning rates those that its tuning chose. Ours is `grao rounds run` with the preset
`stable`, the optimizer carried along; the steps of a round were chosen by the three tuning seeds
(benchmarks/RESULTS.md). TRL samples before every step by itself. Both take turns, each in a separate process on all
cores; the time of a model is when its weights are on disk. Held-out rewards are measured afterwards, for both.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import click
import yaml

from benchmarks.common import describe_machine, print_table
from benchmarks.methods.base_models import Base, held_out_rows, judge, make_base
from benchmarks.methods.runs import TRAINING_SEEDS, quieten
from benchmarks.methods.settings import (
    GROUPS_PER_STEP,
    MAX_GRAD_NORM,
    MAX_NEW_TOKENS,
    SAMPLES,
    TEMPERATURE,
    WEIGHT_DECAY,
    Run,
)
from benchmarks.methods.tasks import TASKS, draw_rows, write_rows

TASK = TASKS["imperfect"]
LEARNING_RATE = 1e-3
"""What the tuning of `benchmarks.methods` chose for both, see docs/evidence.md."""
ROUNDS, STEPS_PER_ROUND = 5, 4
MAX_STEPS = ROUNDS * STEPS_PER_ROUND
WEIGHTS = "model.safetensors"

Rows = list[dict[str, Any]]
Timed = tuple[float, Path]
"""(seconds after the start, a model)."""


def start_ours(base: Base, rows: Rows, seed: int, folder: Path) -> list[str]:
    """The command of the rounds: in each, the next prompts of a walk through all of them."""
    write_rows(folder / "rows.jsonl", rows)
    config = {
        "preset": "stable",
        "output": str(folder / "run"),
        "model": str(base.model),
        "rounds": ROUNDS,
        "prompts": {"source": str(folder / "rows.jsonl")},
        "minibatch": {"prompts_per_round": STEPS_PER_ROUND * GROUPS_PER_STEP},
        "generate": {
            "engine": "transformers",
            "samples": SAMPLES,
            "temperature": TEMPERATURE,
            "max_new_tokens": MAX_NEW_TOKENS,
            "batch_size": 4 * GROUPS_PER_STEP,
            "seed": seed,
        },
        "score": {"reward": TASK.reward, "name": TASK.name, "use_cache": False},
        "advantages": {"keep_zero_variance": True},
        "train": {
            "learning_rate": LEARNING_RATE,
            "carry_optimizer": True,
            "weight_decay": WEIGHT_DECAY,
            "max_grad_norm": MAX_GRAD_NORM,
            "groups_per_step": GROUPS_PER_STEP,
            "checkpoint_steps": 0,
            "seed": seed,
        },
    }
    (folder / "rounds.yaml").write_text(yaml.safe_dump(config))
    return ["-m", "grao_pipeline", "rounds", "run", str(folder / "rounds.yaml")]


def our_models(folder: Path) -> Iterator[Path]:
    for number in range(ROUNDS):
        yield folder / "run" / f"round-{number}" / "train"


def start_trl(base: Base, rows: Rows, seed: int, folder: Path) -> list[str]:
    """The command of TRL's trainer, which saves its model after every step."""
    (folder / "rows.json").write_text(json.dumps(rows))
    return ["-m", "benchmarks.time_to_reward", "--trl", str(folder), "--base", str(base.model), "--seeds", str(seed)]


def trl_models(folder: Path) -> Iterator[Path]:
    for number in range(MAX_STEPS):
        yield folder / f"after-{number}"


def train_with_trl(base: Path, seed: int, folder: Path) -> None:
    from benchmarks.methods.trl_grpo import train_grpo

    rows = json.loads((folder / "rows.json").read_text())
    steps = [rows[start : start + GROUPS_PER_STEP] for start in range(0, len(rows), GROUPS_PER_STEP)]
    list(train_grpo(TASK, Run(TASK.name, "grpo", LEARNING_RATE, seed), base, steps, folder))


SIDES: dict[str, tuple[Callable[[Base, Rows, int, Path], list[str]], Callable[[Path], Iterator[Path]]]] = {
    "ours": (start_ours, our_models),
    "TRL": (start_trl, trl_models),
}


def timed_models(side: str, base: Base, rows: Rows, seed: int, folder: Path) -> list[Timed]:
    """Run a side to its end; its models in order."""
    folder.mkdir(parents=True)
    start, models = SIDES[side]
    command = start(base, rows, seed, folder)
    environment = {**os.environ, "GRAO_CACHE": str(folder / "cache")}
    started = time.time()
    process = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        raise click.ClickException(process.stderr)
    return [((model / WEIGHTS).stat().st_mtime - started, model) for model in models(folder)]


def time_to(target: float, models: list[Timed], base: Base, seed: int, folder: Path) -> tuple[float, int, float]:
    """(seconds, number, reward) of the first model with the reward; infinity and the last one without it."""
    reward = 0.0
    for number, (seconds, model) in enumerate(models, start=1):
        reward = judge(TASK, base, "reported", model, folder / f"judged-{number}", seed=1 + seed)["mean_reward"]
        if reward >= target:
            return seconds, number, reward
    return float("inf"), len(models), reward


@click.command()
@click.option("--seeds", default=5, show_default=True)
@click.option("--target", default=0.85, show_default=True, help="Held-out mean reward.")
@click.option("--trl", type=click.Path(path_type=Path), hidden=True)
@click.option("--base", "base_model", type=click.Path(path_type=Path), hidden=True)
def main(seeds: int, target: float, trl: Path | None, base_model: Path | None) -> None:
    """Print one table; the exit code is 1 if ours is not first by half in the median."""
    if trl is not None:
        assert base_model is not None
        train_with_trl(base_model, seeds, trl)
        return
    quieten()
    table, ratios = [], []
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        base = make_base(TASK, root)
        held_out = {row["prompt"] for row in held_out_rows(TASK, "reported")}
        for seed in range(1, seeds + 1):
            rows = draw_rows(TASK, MAX_STEPS * GROUPS_PER_STEP, TRAINING_SEEDS + seed, held_out)
            reached = {}
            for side in sorted(SIDES, reverse=seed % 2 == 0):  # who is first changes
                folder = root / f"{side}-{seed}"
                models = timed_models(side, base, rows, seed, folder)
                reached[side] = time_to(target, models, base, seed, folder)
            ratios.append(reached["TRL"][0] / reached["ours"][0])
            cells = [f"{seconds:.1f} s: {number}, {reward:.3f}" for seconds, number, reward in reached.values()]
            table.append([seed, *(cells[list(reached).index(side)] for side in SIDES), ratios[-1]])
            click.echo(f"{table[-1]}", err=True)
    print_table(
        f"Seconds to a held-out reward of {target}, with the number of the round or step and its reward. "
        f"{describe_machine()}; load average at the end {os.getloadavg()[0]:.1f}",
        ["seed", f"ours, rounds of {STEPS_PER_ROUND} steps", "TRL, steps", "times as fast"],
        table,
    )
    click.echo(f"median: {median(ratios):.2f} times as fast")
    sys.exit(0 if median(ratios) >= 1.5 else 1)


if __name__ == "__main__":
    main()
