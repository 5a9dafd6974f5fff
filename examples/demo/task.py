"""The demo task: put a few words in alphabetical order, learned from references that are all wrong.

A stranger sees at a glance whether an answer is right, the reward is a few lines of pure Python, and there are far more
prompts than any run can visit, so held-out prompts are unseen ones. Every reference has at least one defect: imitation
alone stops at the references' reward (about 0.7), and only exploration can reach 1.0.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = (
    "acorn almond anchor apple bamboo banana basket beetle bottle button cactus candle castle cherry copper cotton "
    "daisy desert dragon eagle ember falcon feather forest galaxy garden ginger guitar hammer harbor honey island "
    "ivory jacket jungle kettle ladder lemon lizard magnet maple meadow mirror needle olive onion orange paddle "
    "pearl pepper planet rabbit river rocket saddle silver spider temple tiger tulip velvet violin willow zebra"
).split()
NUM_WORDS = (4, 5)
REFERENCE_DEFECTS = {1: 0.6, 2: 0.4}
"""Share of the references that carry this many defects; none carries zero."""


def make_words(rng: random.Random) -> list[str]:
    """Draw the words of one prompt, without repeats and in no particular order."""
    return rng.sample(WORDS, rng.choice(NUM_WORDS))


def make_prompt(words: Sequence[str]) -> str:
    """The instruction, as the user types it."""
    return f"Put these words in alphabetical order: {' '.join(words)}"


def make_answer(words: Sequence[str], defect_shares: dict[int, float], rng: random.Random) -> str:
    """The right answer, spoiled by a number of defects drawn from `defect_shares` (number of defects -> share).

    A defect swaps two neighbours, leaves a word out or repeats one. Two defects can cancel out, so the draw is redone
    until the answer is wrong: an answer with defects is never the right one.
    """
    ordered = sorted(words)
    [num_defects] = rng.choices(list(defect_shares), weights=list(defect_shares.values()))
    answer = ordered
    while num_defects and answer == ordered:
        answer = list(ordered)
        for _ in range(num_defects):
            place = rng.randrange(len(answer) - 1)
            answer[place : place + 2] = rng.choice(
                (
                    [answer[place + 1], answer[place]],  # swapped
                    [answer[place + 1]],  # left out
                    [answer[place], answer[place], answer[place + 1]],  # repeated
                )
            )
    return " ".join(answer)


def reward(completions: list[str], metadata: list[dict[str, Any]], **_: object) -> list[float]:
    """The share of each answer that is in order: 1.0 for the right answer and for nothing else.

    R = LCS(answer, sorted words) / max(len(answer), len(sorted words)), with LCS the length of the longest common
    subsequence: a misplaced, missing, repeated or foreign word each costs one place.

    Args:
        completions: one answer per row, words separated by spaces.
        metadata: one mapping per row; `words` holds the words of the prompt.
    """
    return [_in_order(completion, row["words"]) for completion, row in zip(completions, metadata, strict=True)]


def _in_order(completion: str, words: Sequence[str]) -> float:
    answer = completion.split()
    lengths = [0] * (len(words) + 1)  # lengths[j]: LCS of the answer so far and the first j sorted words
    for given in answer:
        above = lengths
        lengths = [0]
        for j, wanted in enumerate(sorted(words)):
            lengths.append(above[j] + 1 if given == wanted else max(above[j + 1], lengths[j]))
    return lengths[-1] / max(len(answer), len(words))


def write_prompts(path: str | Path, num_prompts: int, seed: int) -> None:
    """Write JSONL rows with `prompt`, `chosen` (the imperfect reference) and `words` (what the reward needs).

    The same seed writes the same bytes; prompts of one file are all different.
    """
    rng = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < num_prompts:
        words = make_words(rng)
        prompt = make_prompt(words)
        chosen = make_answer(words, REFERENCE_DEFECTS, rng)
        rows.setdefault(prompt, json.dumps({"prompt": prompt, "chosen": chosen, "words": words}))
    Path(path).write_text("".join(f"{row}\n" for row in rows.values()), encoding="utf-8")
