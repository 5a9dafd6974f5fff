"""Rewards of tests: sparse, so that some groups have no learning signal."""

from collections.abc import Sequence


def lucky(completions: Sequence[str]) -> list[float]:
    """1 for a completion of a length that four divides, else 0."""
    return [float(len(completion) % 4 == 0) for completion in completions]


def even(completions: Sequence[str]) -> list[float]:
    """1 for a completion of an even length, else 0."""
    return [float(len(completion) % 2 == 0) for completion in completions]
