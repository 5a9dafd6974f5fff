"""DPO by TRL, in rounds: its pairs come from groups that our stages sampled from the current model and scored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.methods.sampling import Scored, sample_and_score
from benchmarks.methods.settings import GROUPS_PER_STEP, SAMPLES, Run
from benchmarks.methods.tasks import Task
from benchmarks.methods.trl_common import arguments, load_tokenizer, prompt_text, train_silently


def make_pairs(scored: Scored) -> list[dict[str, str]]:
    """The best of a group, its reference included, against its worst sample; groups without a worse sample are skipped.

    A sample that is as good as the reference is preferred to it.
    """
    groups = pl.read_parquet(f"{scored.groups}/*.parquet", columns=["messages", "completions", "reference"]).to_dicts()
    scores = pl.read_parquet(f"{scored.scores}/*.parquet", columns=["rewards", "reference_reward"]).to_dicts()
    pairs = []
    for group, score in zip(groups, scores, strict=True):
        texts = [*group["completions"], group["reference"]]
        rewards = [*score["rewards"], score["reference_reward"]]
        best = max(range(len(rewards)), key=rewards.__getitem__)
        worst = min(range(len(rewards) - 1), key=rewards.__getitem__)
        if rewards[best] > rewards[worst]:
            prompt = group["messages"][-1]["content"]
            pairs.append({"prompt": prompt, "chosen": texts[best], "rejected": texts[worst]})
    return pairs


def train_dpo(task: Task, run: Run, model: Path, rounds: list[list[dict[str, Any]]], scratch: Path) -> Iterator[Path]:
    """The reference policy of a round is the model that sampled it. If there are too few pairs, some are seen twice."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    tokenizer = load_tokenizer(model)
    for number, rows in enumerate(rounds):
        folder = scratch / f"round-{number}"
        scored = sample_and_score(task, model, rows, folder, SAMPLES, run.seed)
        pairs = [pair | {"prompt": prompt_text(tokenizer, pair["prompt"])} for pair in make_pairs(scored)]
        num_steps = len(rows) // GROUPS_PER_STEP
        config = DPOConfig(
            **arguments(run, folder), per_device_train_batch_size=GROUPS_PER_STEP, max_steps=num_steps, max_length=None
        )
        trainer = DPOTrainer(
            model=str(model), args=config, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer
        )
        train_silently(trainer)
        model = folder / "model"
        trainer.save_model(str(model))
        yield model
