"""The methods by name, and what makes each differ from the others."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.methods.ours import Offline
from benchmarks.methods.settings import Run
from benchmarks.methods.tasks import Task
from benchmarks.methods.trl_dpo import train_dpo
from benchmarks.methods.trl_grpo import train_grpo

Rows: TypeAlias = list[list[dict[str, Any]]]
Train: TypeAlias = Callable[[Task, Run, Path, Rows, Path], Iterator[Path]]
"""(task, run, base model, rows of each round, scratch folder) → the model after each round."""

METHODS: dict[str, Train] = {
    "sft": Offline({"objective": "sft"}, num_samples=1),  # trains on references alone
    "dpo": train_dpo,
    "grpo": train_grpo,
    "grpo-offline": Offline({"objective": "grpo"}, statistics="samples"),
    "chord": Offline({"objective": "chord"}, statistics="samples"),
    "grao": Offline(),
    "grao-samples": Offline(statistics="samples"),
    "grao-no-imitation": Offline({"beta": 0.0}),
    "grao-no-exploration": Offline({"objective_arg": ["exploration=0"]}),
    "grao-no-regularizer": Offline({"lambda_": 0.0}),
    "grao-reference-floor": Offline(reference_floor=0.0),
    "grao-truncated": Offline({"correction": "truncated-is", "ratio_cap": 1.0}),
    "grao-stable": Offline({"preset": "stable"}, reference_floor=0.0),
    "grao-one-step": Offline(one_step_rounds=True),
    "grao-stable-one-step": Offline({"preset": "stable"}, reference_floor=0.0, one_step_rounds=True),
}
TITLES = {
    "sft": "SFT",
    "dpo": "DPO (TRL)",
    "grpo": "GRPO (TRL)",
    "grpo-offline": "GRPO, offline (ours)",
    "chord": "CHORD (mu 0.1, phi)",
    "grao": "GRAO",
    "grao-samples": "GRAO, statistics of the samples alone",
    "grao-no-imitation": "GRAO without imitation",
    "grao-no-exploration": "GRAO without exploration",
    "grao-no-regularizer": "GRAO without regularizer",
    "grao-reference-floor": "GRAO with a reference floor of 0",
    "grao-truncated": "GRAO with ratios truncated at 1",
    "grao-stable": "GRAO, preset stable (floor 0, ratios truncated at 1)",
    "grao-one-step": "GRAO, one-step rounds, optimizer carried",
    "grao-stable-one-step": "GRAO, preset stable, one-step rounds, optimizer carried",
}
