"""The three tasks: lists of words to translate, as in the demo, with imperfect references, from a weak base, or both.

`imperfect`: every reference leaves a word or two in English; the reward is the share of right words. A method that
only imitates cannot pass the references' mean.
`weak`: references are right; the reward is 1 for an answer that is right throughout and else 0; the base model is so
rarely right that nearly no group of its samples holds a success.
`mixed`: the base never translates half of the words, which only references can teach; references leave one or two of
the *other* words in English, which only samples can get right. The reward is the share of right words. Sampling alone
cannot pass what the base can say at all, imitation alone cannot pass the references.
"""

import json
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.methods.settings import BUDGET, LONG_BUDGET, Budget
from examples.demo.pretraining import Demonstrate, make_demonstration, make_demonstration_of
from examples.demo.task import REFERENCE_SLIPS, SPANISH, make_answer, make_prompt, make_words, reward

WEAK_SLIP_RATE = 0.7
"""Probability that a word of a demonstration for the weak base is left in English; every demonstration is such."""


NEVER_SAID = frozenset(list(SPANISH)[::2])
"""English words that the base of `mixed` never translates."""

Refer: TypeAlias = Callable[[list[str], random.Random], str]
"""English words → a reference answer."""


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        reward: as `grao score --reward` takes it.
        refer: makes a reference.
        demonstrate: what the base model is pre-trained on.
        budget: how long a training lasts.
    """

    name: str
    title: str
    reward: str
    refer: Refer
    demonstrate: Demonstrate
    budget: Budget = BUDGET


def with_slips(reference_slips: dict[int, float]) -> Refer:
    """References that leave words in English.

    Args:
        reference_slips: number of such words → share of the references.
    """

    def refer(words: list[str], rng: random.Random) -> str:
        [num_slips] = rng.choices(list(reference_slips), weights=list(reference_slips.values()))
        return make_answer(words, num_slips, rng)

    return refer


def refer_mixed(words: list[str], rng: random.Random) -> str:
    """One or two of the words that the base can say are left in English; those that it never says are right."""
    [num_slips] = rng.choices(list(REFERENCE_SLIPS), weights=list(REFERENCE_SLIPS.values()))
    places = [place for place, word in enumerate(words) if word not in NEVER_SAID]
    slips = set(rng.sample(places, min(num_slips, len(places))))
    return " ".join(word if place in slips else SPANISH[word] for place, word in enumerate(words))


def demonstrate_mixed(rng: random.Random) -> tuple[str, str]:
    """As in the demo, but for the words that are never translated."""
    words = make_words(rng)
    _, answer = make_demonstration_of(words, rng)
    mixed = [word if word in NEVER_SAID else said for word, said in zip(words, answer.split(), strict=True)]
    return make_prompt(words), " ".join(mixed)


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
        Task(
            "imperfect",
            "imperfect references",
            "examples.demo.task:reward",
            with_slips(REFERENCE_SLIPS),
            make_demonstration,
        ),
        Task("weak", "weak base", "benchmarks.methods.tasks:all_right", with_slips({0: 1.0}), demonstrate_weakly),
        Task("mixed", "mixed", "examples.demo.task:reward", refer_mixed, demonstrate_mixed, LONG_BUDGET),
    )
}


def draw_rows(task: Task, num: int, seed: int, excluded: Collection[str] = ()) -> list[dict[str, Any]]:
    """Rows with `prompt`, `completion` (the reference) and `words`; all prompts differ and none is excluded."""
    rng = random.Random(seed)
    rows: dict[str, dict[str, Any]] = {}
    while len(rows) < num:
        words = make_words(rng)
        prompt = make_prompt(words)
        row = {"prompt": prompt, "completion": task.refer(words, rng), "words": words}
        if prompt not in excluded:
            rows.setdefault(prompt, row)
    return list(rows.values())


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSONL."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
