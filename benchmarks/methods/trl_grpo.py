"""GRPO by TRL: on-policy, with its own sampling, in one training that is judged at the end of every round."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.methods.settings import GROUPS_PER_STEP, MAX_NEW_TOKENS, SAMPLES, TEMPERATURE, Run
from benchmarks.methods.tasks import Task
from benchmarks.methods.trl_common import arguments, load_tokenizer, prompt_text, train_silently
from grao_pipeline.plugins import load


def train_grpo(task: Task, run: Run, model: Path, rounds: list[list[dict[str, Any]]], scratch: Path) -> Iterator[Path]:
    """Every step samples 16 groups of 8 from the current weights. Other settings of TRL's GRPO keep their defaults."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = load_tokenizer(model)
    reward: Any = load("reward", task.reward, {})

    def reward_of(completions: list[str], words: list[list[str]], **_: Any) -> list[float]:
        return list(reward(completions, [{"words": row} for row in words]))

    num_steps = len(rounds[0]) // GROUPS_PER_STEP
    places = [scratch / f"after-{number}" for number in range(len(rounds))]

    class SaveRounds(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % num_steps == 0:
                trainer.save_model(str(places[state.global_step // num_steps - 1]))

    config = GRPOConfig(
        **arguments(run, scratch),
        max_steps=num_steps * len(rounds),
        per_device_train_batch_size=GROUPS_PER_STEP * SAMPLES,
        num_generations=SAMPLES,
        max_completion_length=MAX_NEW_TOKENS,
        temperature=TEMPERATURE,
        shuffle_dataset=False,
    )
    rows = [{"prompt": prompt_text(tokenizer, row["prompt"]), "words": row["words"]} for part in rounds for row in part]
    trainer = GRPOTrainer(
        model=str(model),
        reward_funcs=reward_of,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[SaveRounds()],
    )
    train_silently(trainer)
    yield from places
