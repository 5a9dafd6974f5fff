"""Weighted drawing without replacement; the hash of each prompt decides."""

import math
from collections.abc import Sequence

from grao_pipeline.fingerprints import fingerprint

HASH_DIGITS = 13
HASHES: int = 16**HASH_DIGITS
"""2⁵², so that a hash plus one half is an exact float."""


def probabilities(variances: Sequence[float], uniform_mix: float) -> list[float]:
    """p_i = (1 − u) v_i / Σ v + u / N, where u is the uniform share. If Σ v = 0: p_i = 1 / N for u > 0, else 0.

    Returns:
        N numbers whose sum is 1, or 0 in the last case.
    """
    total, count = math.fsum(variances), len(variances)
    if total == 0.0:
        return [float(uniform_mix > 0.0) / count for _ in variances]
    return [(1.0 - uniform_mix) * variance / total + uniform_mix / count for variance in variances]


def draw(prompt_ids: Sequence[str], chances: Sequence[float], number: int, seed: Sequence[int]) -> list[str]:
    """Draw `number` ids one after another, each in proportion to its chance among the ids that remain.

    An id gets the key −log(U) / p, where U in (0, 1) is a hash of the seed and the id; the ids with the smallest keys
    are drawn (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir"). So the order of the ids and
    the other ids do not matter, and a larger number draws all ids that a smaller one draws. An id with chance 0 is
    never drawn.

    Returns:
        the ids in the order drawn; fewer than `number` if fewer have a chance above 0.
    """
    keys = [
        (-math.log(_uniform(seed, prompt_id)) / chance, prompt_id)
        for prompt_id, chance in zip(prompt_ids, chances, strict=True)
        if chance > 0.0
    ]
    return [prompt_id for _, prompt_id in sorted(keys)[:number]]


def _uniform(seed: Sequence[int], prompt_id: str) -> float:
    """A number in (0, 1)."""
    return (int(fingerprint([*seed, prompt_id])[:HASH_DIGITS], 16) + 0.5) / HASHES
