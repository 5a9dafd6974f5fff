"""Malformed files and options of every kind: read by the contract, or refused with one message, at once."""

import random
from collections.abc import Iterator

from benchmarks.chaos.fuzz_areas import AREAS
from benchmarks.chaos.fuzz_worker import Worker
from benchmarks.chaos.place import Place
from benchmarks.chaos.trial import Trial


def trials(place: Place, seed: int) -> Iterator[Trial]:
    """One input after another, of every area as often as it says."""
    worker = Worker(place)
    generator = random.Random(f"fuzz {seed}")
    number = 0
    try:
        while True:
            area = generator.choices(list(AREAS), [weight for _, weight in AREAS.values()])[0]
            yield worker.trial(area, f"{seed}-{number}")
            number += 1
    finally:
        worker.close()
