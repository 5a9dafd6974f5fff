"""A run of rounds for the tests of reports: two variants, two rounds, two rewards, all stages real."""

from pathlib import Path

import yaml

from tests.rounds.running import run


def make_run(directory: Path, model: Path, prompts: str) -> Path:
    """The output directory of a finished run."""
    config = {
        "output": str(directory / "run"),
        "model": str(model),
        "rounds": 2,
        "prompts": {"train": prompts, "eval": prompts},
        "generate": {
            "engine": "transformers",
            "samples": 4,
            "max_new_tokens": 8,
            "temperature": 1.0,
            "prompts_per_part": 3,
        },
        "score": [
            {"reward": "length", "reward_arg": ["target=12", "unit=characters"]},
            {"reward": "regex", "reward_arg": ["pattern='[aeiou]{2}'"], "name": "vowels", "weight": 0.5},
        ],
        "train": {"learning_rate": 1e-3, "groups_per_step": 5},
        "sweep": {"train.beta": [0.25, 0.5]},
        "evaluate": {"generate": {"samples": 2}, "bootstrap_samples": 200},
    }
    path = directory / "rounds.yaml"
    path.write_text(yaml.safe_dump(config))
    run(path)
    return directory / "run"
