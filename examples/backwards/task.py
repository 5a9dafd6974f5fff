"""The demo's task: write some words backwards, with commas, with a full stop; learned from references with faults.

A stranger sees at a glance whether an answer is right, the reward is a few lines of Python, and there are far more
lists of words than any run visits, so held-out prompts are unseen ones. Every reference has a fault or two: imitation
alone stops at the references' reward (about 0.65); only exploration reaches 1.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# fmt: off
WORDS = [
    "acorn", "almond", "anchor", "apple", "bamboo", "banana", "basket", "beetle", "bottle", "button", "cactus",
    "candle", "castle", "cherry", "copper", "cotton", "daisy", "desert", "dragon", "eagle", "ember", "falcon",
    "feather", "forest", "galaxy", "garden", "ginger", "guitar", "hammer", "harbor", "honey", "island",
]
# fmt: on
NUM_WORDS = (3, 4, 5)
FAULTS = ("order", "words", "commas", "stop")
"""Forwards, a word left out, spaces instead of commas, no full stop: each costs a quarter of the reward."""
REFERENCE_FAULTS = {1: 0.6, 2: 0.4}
"""How many faults a reference has → share of the references; none has zero."""


def make_words(rng: random.Random) -> list[str]:
    """The words of one prompt."""
    return rng.sample(WORDS, rng.choice(NUM_WORDS))


def make_prompt(words: Sequence[str]) -> str:
    """The instruction, as a user types it."""
    return f"Write these words backwards, with commas, with a full stop: {' '.join(words)}"


def make_answer(words: Sequence[str], faults: Sequence[str], rng: random.Random) -> str:
    """The answer with the given faults; without any it is the right one, e.g. `fig, plum, apple.`"""
    answer = list(words) if "order" in faults else list(reversed(words))
    if "words" in faults:
        answer.pop(rng.randrange(len(answer)))
    return (" " if "commas" in faults else ", ").join(answer) + ("" if "stop" in faults else ".")


def reward(completions: list[str], metadata: list[dict[str, Any]]) -> list[float]:
    """A quarter for each of: backwards, all the words and no others, commas, full stop."""
    return [_judge(text, row["words"]) for text, row in zip(completions, metadata, strict=True)]


def _judge(text: str, words: Sequence[str]) -> float:
    body = text.removesuffix(".")
    given = body.replace(",", " ").split()
    known = [words.index(word) for word in given if word in words]
    backwards = len(known) > 1 and known == sorted(known, reverse=True)
    complete = sorted(given) == sorted(words)
    return (backwards + complete + (body == ", ".join(given)) + text.endswith(".")) / 4


def write_prompts(path: Path, num_prompts: int, seed: int) -> None:
    """Write JSONL rows of `prompt`, `completion` (the imperfect reference) and `words` (what the reward needs)."""
    rng = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < num_prompts:
        words = make_words(rng)
        [num_faults] = rng.choices(list(REFERENCE_FAULTS), list(REFERENCE_FAULTS.values()))
        reference = make_answer(words, rng.sample(FAULTS, num_faults), rng)
        row = {"prompt": make_prompt(words), "completion": reference, "words": words}
        rows.setdefault(row["prompt"], json.dumps(row))  # type: ignore[arg-type]
    path.write_text("".join(f"{row}\n" for row in rows.values()))
