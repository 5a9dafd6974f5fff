"""All completion tokens of a part, and the steps that they belong to, for token-weight functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from grao_pipeline.errors import InputError
from grao_pipeline.storage.reader import TableReader

UNKNOWN = -1
"""In place of a step, of a token that belongs to none."""


@dataclass(frozen=True)
class Steps:
    """The steps of all samples of a part, one sample after another: T of them."""

    sample: np.ndarray
    """Number of the step's sample. [T]"""
    number: np.ndarray
    """Its number in the sample, from 0. [T]"""
    reward: np.ndarray
    """NaN where it has none. [T]"""
    state: list[str | None]
    """Key of the state in which it was taken. [T]"""
    of_token: np.ndarray
    """The step in which each token ends, or `UNKNOWN`. [N]"""

    def to_tokens(self, of_step: np.ndarray, otherwise: np.ndarray | float = 0.0) -> np.ndarray:
        """The value [T] of each token's step; `otherwise` for tokens that belong to none. [N]"""
        values = np.append(of_step, np.nan)  # for UNKNOWN
        return np.where(self.of_token == UNKNOWN, otherwise, values[self.of_token])


@dataclass(frozen=True)
class Tokens:
    """The samples of a part, S of them, with N tokens, one sample after another; without references.

    Example: `Tokens.of(groups, advantages, {})`
    """

    ids: np.ndarray
    """[N]"""
    logprobs: np.ndarray
    """Under the policy that sampled; NaN where they are not stored. [N]"""
    sample: np.ndarray
    """Number of the token's sample. [N]"""
    position: np.ndarray
    """Place of the token in its sample. [N]"""
    length: np.ndarray
    """Tokens of each sample. [S]"""
    group: np.ndarray
    """Number of the sample's group. [S]"""
    advantage: np.ndarray
    """NaN where the sample is not trained on. [S]"""
    reward: np.ndarray
    """NaN where it has none. [S]"""
    steps: Mapping[str, Steps] = field(default_factory=dict)
    """By the name of the feature that has them."""

    @staticmethod
    def of(groups: pa.Table, advantages: pa.Table, scores: Mapping[str, pa.Table]) -> "Tokens":
        """The tokens of a part of a groups table.

        Args:
            groups: with `completion_token_ids`, `completion_logprobs` and `completion_token_ends`.
            advantages: the part of the advantages table, before token weights.
            scores: aligned parts of scores tables with steps, by name.

        Raises:
            InputError: scores have steps, but the groups do not say where tokens end.
        """
        rows = groups.column("completion_token_ids").to_pylist()
        sizes = [len(row) for row in rows]
        ids = [of_sample for row in rows for of_sample in row]
        length = np.array([len(of_sample) for of_sample in ids], dtype=np.int64)
        sample = np.repeat(np.arange(len(length)), length)
        ends, logprobs = (
            _per_sample(groups.column(name).to_pylist(), sizes, length)
            for name in ("completion_token_ends", "completion_logprobs")
        )
        return Tokens(
            ids=_joined(ids).astype(np.int64),
            logprobs=_joined(logprobs),
            sample=sample,
            position=np.arange(len(sample)) - np.repeat(np.cumsum(length) - length, length),
            length=length,
            group=np.repeat(np.arange(len(sizes)), sizes),
            advantage=_flat(advantages.column("advantages")),
            reward=_flat(advantages.column("rewards")),
            steps={name: _steps(name, table, ends, sizes) for name, table in scores.items()},
        )


def refuse_without_steps(name: str, scores: TableReader) -> None:
    """Raises InputError if no sample of the whole table has steps. A part without any is usual."""
    parts = (scores.part(index, ["steps"]).column("steps") for index in range(scores.num_parts))
    if not any(steps for part in parts for row in part.to_pylist() for steps in row or ()):
        raise InputError(
            f"The scores '{name}' ({scores.url}) have no steps. A reward gives them in its judgements; see "
            "docs/scoring.md."
        )


def _steps(name: str, scores: pa.Table, ends: Sequence[Sequence[float]], sizes: Sequence[int]) -> Steps:
    rows = zip(scores.column("steps").to_pylist(), sizes, strict=True)
    per_sample = [steps or [] for row, size in rows for steps in row or [None] * size]
    of_token: list[np.ndarray] = []
    first = 0
    for steps, token_ends in zip(per_sample, ends, strict=True):
        if steps and np.isnan(token_ends).any():
            raise InputError(
                f"The scores '{name}' have steps, but the groups do not say where the tokens of each completion end "
                "(completion_token_ends). Sample them again, or import them with --tokenizer."
            )
        place = np.searchsorted([step["end"] for step in steps], np.asarray(token_ends), side="left")
        of_token.append(np.where(place < len(steps), place + first, UNKNOWN))
        first += len(steps)
    flat = [step for steps in per_sample for step in steps]
    counts = [len(steps) for steps in per_sample]
    return Steps(
        sample=np.repeat(np.arange(len(counts)), counts),
        number=np.concatenate([np.arange(0), *(np.arange(count) for count in counts)]),
        reward=np.array([step["reward"] for step in flat], dtype=np.float64),
        state=[step["state"] for step in flat],
        of_token=np.concatenate(of_token).astype(np.int64),
    )


def _per_sample(
    rows: Sequence[Sequence[Sequence[float] | None] | None], sizes: Sequence[int], lengths: np.ndarray
) -> list[Sequence[float]]:
    """One list per sample; of NaN where the table has none."""
    samples = [of_sample for row, size in zip(rows, sizes, strict=True) for of_sample in row or [None] * size]
    return [[np.nan] * int(length) if of is None else of for of, length in zip(samples, lengths, strict=True)]


def _joined(lists: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array([value for values in lists for value in values], dtype=np.float64)


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    return _joined(column.to_pylist())
