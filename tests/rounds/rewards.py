"""Rewards of tests: sparse, so that some groups have no learning signal."""

from collections.abc import Sequence
from pathlib import Path


def lucky(completions: Sequence[str]) -> list[float]:
    """1 for a completion of a length that four divides, else 0."""
    return [float(len(completion) % 4 == 0) for completion in completions]


def even(completions: Sequence[str]) -> list[float]:
    """1 for a completion of an even length, else 0."""
    return [float(len(completion) % 2 == 0) for completion in completions]


def of_policy(completions: Sequence[str], model: str) -> list[float]:
    """A stand-in of a policy that judges itself: it only looks whether the model is there."""
    assert (Path(model) / "config.json").is_file()
    return [len(completion) / 10 for completion in completions]
