"""The two tasks: lists of words to translate, as in the demo, once with imperfect references and once from a weak base.

`imperfect`: every reference leaves a word or two in English; the reward is the share of right words. A method that
only imitates cannot pass the references' mean.
`weak`: references are right; the reward is 1 for an answer that is right throughout and else 0; the base model is so
rarely right that nearly no group of its samples holds a success.
"""

import json
import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.demo.pretraining import Demonstrate, make_demonstration
from examples.demo.task import REFERENCE_SLIPS, make_answer, make_prompt, make_words, reward

WEAK_SLIP_RATE = 0.7
"""Probability that a word of a demonstration for the weak base is left in English; every demonstration is such."""


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        reward: as `grao score --reward` takes it.
        reference_slips: words that a reference leaves in English → share of such references.
        demonstrate: what the base model is pre-trained on.
    """

    name: str
    title: str
    reward: str
    reference_slips: dict[int, float]
    demonstrate: Demonstrate


def all_right(completions: list[str], metadata: list[dict[str, Any]], **_: object) -> list[float]:
    """1 for an answer that is right throughout, else 0."""
    return [float(share == 1.0) for share in reward(completions, metadata)]


def demonstrate_weakly(rng: random.Random) -> tuple[str, str]:
    """Draw one prompt and an answer that is mostly left in English."""
    words = make_words(rng)
    num_slips = sum(rng.random() < WEAK_SLIP_RATE for _ in words)
    return make_prompt(words), make_answer(words, num_slips, rng)


TASKS = {
    task.name: task
    for task in (
        Task("imperfect", "imperfect references", "examples.demo.task:reward", REFERENCE_SLIPS, make_demonstration),
        Task("weak", "weak base", "benchmarks.methods.tasks:all_right", {0: 1.0}, demonstrate_weakly),
    )
}


def draw_rows(task: Task, num: int, seed: int, excluded: Collection[str] = ()) -> list[dict[str, Any]]:
    """Rows with `prompt`, `completion` (the reference) and `words`; all prompts differ and none is excluded."""
    rng = random.Random(seed)
    rows: dict[str, dict[str, Any]] = {}
    slips = task.reference_slips
    while len(rows) < num:
        words = make_words(rng)
        prompt = make_prompt(words)
        [num_slips] = rng.choices(list(slips), weights=list(slips.values()))
        row = {"prompt": prompt, "completion": make_answer(words, num_slips, rng), "words": words}
        if prompt not in excluded:
            rows.setdefault(prompt, row)
    return list(rows.values())


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSONL."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
