"""Drawing without replacement, each prompt by its own hash."""

import math
from collections.abc import Sequence

from grao_pipeline.fingerprints import fingerprint

HASH_DIGITS = 13
HASHES: int = 16**HASH_DIGITS
"""2⁵², so that a hash and one half more is a float without rounding."""


def probabilities(variances: Sequence[float], uniform_mix: float) -> list[float]:
    """p_i = (1 − u) v_i / Σ v + u / N, u the uniform share; 1 / N where no variance is above 0 and u is.

    Returns:
        N numbers of sum 1; all 0 where neither a variance nor u is above 0.
    """
    total, count = math.fsum(variances), len(variances)
    if total == 0.0:
        return [float(uniform_mix > 0.0) / count for _ in variances]
    return [(1.0 - uniform_mix) * variance / total + uniform_mix / count for variance in variances]


def draw(ids: Sequence[str], chances: Sequence[float], number: int, seed: Sequence[int]) -> list[str]:
    """Draw so many ids one after another, each time in proportion to the chances of those that are left.

    Each id waits −log(U) / p, U from (0, 1) by its own hash and the seed; the first to arrive are drawn (Efraimidis and
    Spirakis 2006, "Weighted random sampling with a reservoir"). So order and neighbours play no part, and a larger
    number draws all that a smaller one does. An id without a chance is never drawn.

    Returns:
        the ids in the order drawn; fewer than `number` where fewer have a chance.
    """
    waits = [(-math.log(_uniform(seed, each)) / p, each) for each, p in zip(ids, chances, strict=True) if p > 0.0]
    return [each for _, each in sorted(waits)[:number]]


def _uniform(seed: Sequence[int], each: str) -> float:
    """A number in (0, 1)."""
    return (int(fingerprint([*seed, each])[:HASH_DIGITS], 16) + 0.5) / HASHES
