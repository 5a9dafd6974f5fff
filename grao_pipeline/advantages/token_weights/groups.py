"""Statistics of steps over sets of equal ones."""

from collections.abc import Hashable, Iterable

import numpy as np

EPSILON = 1e-6


def numbered(*keys: Iterable[Hashable]) -> np.ndarray:
    """The same number for equal combinations of keys, from 0. [T]"""
    numbers: dict[tuple[Hashable, ...], int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in zip(*keys, strict=True)], dtype=np.int64)


def mean_of(values: np.ndarray, kind: np.ndarray, is_counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean of the counted values of each one's kind, their number). [T] each"""
    size = int(kind.max(initial=-1)) + 1
    count = np.bincount(kind[is_counted], minlength=size)
    total = np.bincount(kind[is_counted], values[is_counted], minlength=size)
    return (total / np.maximum(count, 1))[kind], count[kind]


def centered(values: np.ndarray, kind: np.ndarray, is_counted: np.ndarray, epsilon: float | None = None) -> np.ndarray:
    """values − their mean over the counted ones of the same kind; 0 where there is only one or it is not counted. [T]

    Args:
        epsilon: divide by their deviation (n − 1) and this; None does not.
    """
    mean, count = mean_of(values, kind, is_counted)
    difference = np.where(is_counted & (count > 1), values - mean, 0.0)
    if epsilon is None:
        return difference
    squares, _ = mean_of(difference**2, kind, is_counted)
    std = np.sqrt(squares * count / np.maximum(count - 1, 1))
    return np.asarray(difference / (std + epsilon))


def discounted_returns(sample: np.ndarray, rewards: np.ndarray, discount: float = 1.0) -> np.ndarray:
    """Σ_{j ≥ k} discount^(j − k) · reward_j over the steps of a sample; a missing reward (NaN) counts as 0. [T]"""
    returns: np.ndarray = np.nan_to_num(rewards)
    for index in range(len(returns) - 2, -1, -1):
        if sample[index] == sample[index + 1]:
            returns[index] += discount * returns[index + 1]
    return returns
