"""The demo task: translate a list of words into Spanish, learned from references that leave some in English.

A stranger sees at a glance whether an answer is right, the reward is a few lines of pure Python, and 64 words
make far more lists than any run can visit, so held-out prompts are lists never seen (of words that were).
No reference is right throughout: imitation alone stops at the references' mean reward (about 0.69), and only
exploration reaches 1.0.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DICTIONARY = """
apple/manzana bear/oso bed/cama black/negro blue/azul book/libro bread/pan bridge/puente cat/gato
chair/silla cheese/queso church/iglesia city/ciudad cloud/nube cow/vaca dog/perro door/puerta ear/oreja
earth/tierra egg/huevo eye/ojo fire/fuego fish/pez flower/flor gold/oro green/verde hair/pelo hand/mano
hat/sombrero horse/caballo house/casa ice/hielo island/isla key/llave king/rey knife/cuchillo lake/lago
leaf/hoja milk/leche moon/luna mouth/boca night/noche nose/nariz paper/papel queen/reina rain/lluvia
red/rojo sea/mar ship/barco shoe/zapato sky/cielo snow/nieve spoon/cuchara star/estrella stone/piedra
street/calle sun/sol table/mesa water/agua white/blanco wind/viento window/ventana winter/invierno
yellow/amarillo
"""
SPANISH = dict(pair.split("/") for pair in DICTIONARY.split())
NUM_WORDS = (4, 5)
"""How many words a prompt may hold: 15 million lists of four alone."""
REFERENCE_SLIPS = {1: 0.6, 2: 0.4}
"""How many words a reference leaves in English -> share of the references that do so; none leaves zero."""


def make_words(rng: random.Random) -> list[str]:
    """Draw the English words of one prompt, without repeats."""
    return rng.sample(list(SPANISH), rng.choice(NUM_WORDS))


def make_prompt(words: Sequence[str]) -> str:
    """The instruction, as the user types it."""
    return f"Translate into Spanish: {' '.join(words)}"


def make_answer(words: Sequence[str], num_slips: int, rng: random.Random) -> str:
    """The right answer, except that `num_slips` of the words, drawn at random, are left in English."""
    slips = set(rng.sample(range(len(words)), num_slips))
    return " ".join(word if place in slips else SPANISH[word] for place, word in enumerate(words))


def reward(completions: list[str], metadata: list[dict[str, Any]], **_: object) -> list[float]:
    """The share of the words that are translated, each in its place: 1.0 for the right answer only.

    R = right words / max(words of the answer, words of the prompt): a word too many or too few costs too.

    Args:
        completions: one answer per row, words separated by spaces.
        metadata: one mapping per row; `words` holds the English words of the prompt.
    """
    rewards = []
    for completion, row in zip(completions, metadata, strict=True):
        answer, words = completion.split(), row["words"]
        num_right = sum(given == SPANISH[word] for given, word in zip(answer, words, strict=False))
        rewards.append(num_right / max(len(answer), len(words)))
    return rewards


def write_prompts(path: str | Path, num_prompts: int, seed: int) -> None:
    """Write JSONL rows with `prompt`, `completion` (the imperfect reference) and `words` (what the reward needs).

    The same seed writes the same bytes; the prompts of one file are all different.
    """
    rng = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < num_prompts:
        words = make_words(rng)
        [num_slips] = rng.choices(list(REFERENCE_SLIPS), weights=list(REFERENCE_SLIPS.values()))
        row = {"prompt": make_prompt(words), "completion": make_answer(words, num_slips, rng), "words": words}
        rows.setdefault(make_prompt(words), json.dumps(row))
    Path(path).write_text("".join(f"{row}\n" for row in rows.values()), encoding="utf-8")
