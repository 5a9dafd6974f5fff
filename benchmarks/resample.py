"""Resampling in rounds against the same number of samples for every prompt, on a base that rarely succeeds.

    OMP_NUM_THREADS=1 python -m benchmarks.resample

The reward is 1 for a completion whose length a number divides, else 0, so that a random model succeeds with about one
sample in `--rarity`. A group has a learning signal where its rewards are not all equal.
"""

import tempfile
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.common import describe_machine, make_model, print_table, write_prompts
from grao_pipeline.rounds.overview import status_rounds
from grao_pipeline.rounds.run import run_rounds
from grao_pipeline.storage.reader import open_table

REWARD = """
def lucky(completions):
    return [float(len(completion) % {rarity} == 0) for completion in completions]
"""
Row = list[object]


@click.command()
@click.option("--prompts", "num_prompts", default=64, show_default=True, help="Prompts of the round.")
@click.option("--samples", default=4, show_default=True, help="Samples of the first pass.")
@click.option("--further", default=4, show_default=True, help="New samples of a prompt in every further pass.")
@click.option("--attempts", default=4, show_default=True, help="Further passes.")
@click.option("--rarity", default=12, show_default=True, help="About one sample in this many succeeds.")
def main(num_prompts: int, samples: int, further: int, attempts: int, rarity: int) -> None:
    """Print one table: groups with a learning signal and samples spent, pass after pass, and without passes."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        reward = root / "sparse_reward.py"
        reward.write_text(REWARD.format(rarity=rarity))
        base = {
            "model": str(make_model(root / "model", 64, 2, 512, 256)),
            "prompts": {"train": write_prompts(root / "prompts", num_prompts, 6, 0)},
            "score": {"reward": f"{reward}:lucky", "name": "lucky"},
            "train": {"learning_rate": 1e-4, "max_steps": 1},
            "store": str(root / "store"),
        }
        sampling = {"engine": "transformers", "max_new_tokens": 12, "temperature": 1.0}
        passes = {"attempts": attempts, "samples": further, "until": "variance"}
        _run(root, "resampled", {**base, "generate": {**sampling, "samples": samples}, "resample": passes})
        did = [task.did for task in status_rounds(str(root / "resampled.yaml")).tasks if "with_signal" in task.did]
        rows: list[Row] = [
            [f"after pass {number}", one["with_signal"] / one["groups"], one["samples"], one["samples"] / num_prompts]
            for number, one in enumerate(did)
        ]
        everywhere = _run(
            root, "everywhere", {**base, "generate": {**sampling, "samples": samples + attempts * further}}
        )
        rewards: list[list[float]] = open_table(str(everywhere), "scores").arrow(["rewards"])["rewards"].to_pylist()
        spent = did[-1]["samples"]
        for number in range(samples, samples + attempts * further + 1, further):
            share = sum(len(set(group[:number])) > 1 for group in rewards) / num_prompts
            rows.append([f"{number} of every prompt", share, number * num_prompts, float(number)])
    print_table(
        f"{num_prompts} prompts, {samples} samples, up to {attempts} passes of {further}; about 1 sample in {rarity} "
        f"succeeds; resampling spent {spent} samples. {describe_machine()}",
        ["samples", "share of groups with a signal", "samples spent", "of a prompt"],
        rows,
    )


def _run(root: Path, name: str, config: dict[str, Any]) -> Path:
    """The scores of the first pass of a run."""
    path = root / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"output": str(root / name), **config}))
    run_rounds(str(path))
    return root / name / "round-0" / "score-lucky"


if __name__ == "__main__":
    main()
