"""Groups and advantages → what the trainer reads: groups of sequences, in a seeded order, in micro-batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.errors import InputError, MismatchError
from grao_pipeline.storage.reader import TableReader

GROUP_COLUMNS = [
    "group_id",
    "prompt_token_ids",
    "reference_token_ids",
    "completion_token_ids",
    "completion_logprobs",
    "policy",
    "round",
]
ADVANTAGE_COLUMNS = ["group_id", "rewards", "advantages", "reference_advantage", "token_weights"]


@dataclass(frozen=True)
class TrainingSequence:
    """A sequence with an advantage: a sample or the reference, with what its weight depends on.

    Example: `TrainingSequence([1, 2], [7, 3], 0.5, False, 8, 0.1, True, 1.0, [-0.2, -1.0])`
    """

    prompt_token_ids: list[int]
    token_ids: list[int]
    """The continuation of the prompt. [L], L >= 1"""
    advantage: float
    is_reference: bool
    group_size: int
    """G: the samples of its group that have an advantage (and a token)."""
    group_mean_advantage: float
    """(1/G) Σ_i Â_i over those samples; 0 where there is none."""
    group_has_reference: bool
    """Whether the group's reference is trained on."""
    reward: float | None
    """Of a sample; None for the reference."""
    behavior_logprobs: list[float] | None
    """Of a sample, where the groups store them. [L]"""
    token_weights: list[float] | None = None
    """Of a sample, where the estimator weighs tokens: a factor for each. [L]"""
    group_mean_reward: float | None = None
    """Mean reward of the group's samples that have an advantage; None where none of them has a reward."""
    group_id: str = ""

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_token_ids) + len(self.token_ids)


@dataclass(frozen=True)
class TrainingGroup:
    """The trained sequences of one group."""

    group_id: str
    sequences: list[TrainingSequence]


class TrainingSet:
    """The groups that have at least one sequence to train on, in memory as Arrow.

    Args:
        max_rounds_behind: leave out groups whose round is more than this below the newest of the table.

    Attributes:
        num_groups: of the table.
        num_too_old: groups left out for their round that would have been trained on.
        policies: fingerprints of those that sampled the groups, but for groups that are too old.

    Raises:
        MismatchError: the tables do not hold the same groups.
    """

    def __init__(self, groups: TableReader, advantages: TableReader, max_rounds_behind: int | None = None) -> None:
        advantages.refuse_other_groups(groups)
        self._parts: list[tuple[pa.Table, pa.Table]] = []
        self._index: list[tuple[int, int]] = []
        self.policies: set[str] = set()
        self.num_groups = 0
        self.num_too_old = 0
        self.has_tokens = False
        for index in range(groups.num_parts):
            part = groups.part(index, GROUP_COLUMNS)
            aligned = advantages.aligned_part(part.column("group_id"), index, ADVANTAGE_COLUMNS)
            self._parts.append((part, aligned))
            self.num_groups += part.num_rows
            ids = part.column("completion_token_ids")
            self.has_tokens |= bool(pc.any(pc.greater(pc.list_value_length(pc.list_flatten(ids)), 0)).as_py())
        oldest = _oldest_round([part for part, _ in self._parts], max_rounds_behind)
        for index, (part, aligned) in enumerate(self._parts):
            is_recent = pc.greater_equal(part.column("round"), oldest)
            self.policies.update(part.column("policy").filter(is_recent).unique().to_pylist())
            trained, recent = _trained_rows(part, aligned), is_recent.to_pylist()
            kept = [(index, row) for row in trained if recent[row]]
            self.num_too_old += len(trained) - len(kept)
            self._index += kept

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> TrainingGroup:
        part, row = self._index[index]
        groups, advantages = self._parts[part]
        return _training_group({**groups.slice(row, 1).to_pylist()[0], **advantages.slice(row, 1).to_pylist()[0]})

    def check_fits(self, vocab_size: int, context_length: int | None) -> None:
        """Check every trained sequence against the model.

        Raises:
            InputError: a prompt is empty, a token id is outside the vocabulary, or a sequence is longer than the
            model's positions.
        """
        for index in range(len(self)):
            group = self[index]
            for sequence in group.sequences:
                if not sequence.prompt_token_ids:
                    raise InputError(
                        f"group {group.group_id} has an empty prompt_token_ids: nothing predicts the first token of "
                        "its samples. A prompt needs at least one token."
                    )
                ids = [*sequence.prompt_token_ids, *sequence.token_ids]
                outside = next((token for token in (min(ids), max(ids)) if not 0 <= token < vocab_size), None)
                if outside is not None:
                    raise InputError(
                        f"group {group.group_id} holds token id {outside}; the model's vocabulary has {vocab_size}. "
                        "Train the model that sampled these groups."
                    )
                if context_length is not None and sequence.num_tokens > context_length:
                    raise InputError(
                        f"group {group.group_id} has a sequence of {sequence.num_tokens} tokens; the model's positions "
                        f"end at {context_length}."
                    )


def epoch_order(num_groups: int, seed: int, epoch: int) -> list[int]:
    """A permutation that depends on the seed and the epoch alone."""
    return [int(index) for index in np.random.default_rng([seed, epoch]).permutation(num_groups)]


def step_plan(num_groups: int, groups_per_step: int, epochs: int, seed: int) -> Iterator[tuple[int, list[int]]]:
    """(epoch, indices of the groups) of every optimizer step, in order. A step never spans two epochs."""
    for epoch in range(epochs):
        order = epoch_order(num_groups, seed, epoch)
        for start in range(0, num_groups, groups_per_step):
            yield epoch, order[start : start + groups_per_step]


def micro_batches(
    groups: Sequence[TrainingGroup], tokens_per_batch: int, whole_groups: bool = False
) -> Iterator[list[TrainingSequence]]:
    """Cut a step's sequences into batches of at most `tokens_per_batch` tokens, a prompt counted once per group.

    A group is cut only where it is larger than a batch alone, and never with `whole_groups`. Any cut gives the same
    gradient: a sequence carries what its weight depends on.
    """
    batch: list[TrainingSequence] = []
    size = 0
    for group in groups:
        pieces = [group.sequences] if whole_groups else list(_pieces(group.sequences, tokens_per_batch))
        for piece in pieces:
            added = _tokens(piece)
            if batch and size + added > tokens_per_batch:
                yield batch
                batch, size = [], 0
            batch += piece
            size += added
    if batch:
        yield batch


def _pieces(sequences: Sequence[TrainingSequence], tokens_per_batch: int) -> Iterator[list[TrainingSequence]]:
    """A group's sequences in pieces that fit a batch; a sequence that does not fit makes its own."""
    piece: list[TrainingSequence] = []
    for sequence in sequences:
        if piece and _tokens([*piece, sequence]) > tokens_per_batch:
            yield piece
            piece = []
        piece.append(sequence)
    if piece:
        yield piece


def _tokens(sequences: Sequence[TrainingSequence]) -> int:
    """Of sequences of one group, its prompt counted once."""
    return len(sequences[0].prompt_token_ids) + sum(len(sequence.token_ids) for sequence in sequences)


def _oldest_round(parts: Sequence[pa.Table], max_rounds_behind: int | None) -> int:
    """The oldest round to train on."""
    rounds = [number for part in parts for number in part.column("round").unique().to_pylist()]
    if max_rounds_behind is None or not rounds:
        return min(rounds, default=0)
    return int(max(rounds)) - max_rounds_behind


def _trained_rows(groups: pa.Table, advantages: pa.Table) -> list[int]:
    """The rows that have a sequence with an advantage and at least one token."""
    lengths = pl.DataFrame(pl.from_arrow(groups.select(["completion_token_ids", "reference_token_ids"]))).select(
        pl.col("completion_token_ids").list.eval(pl.element().list.len()), pl.col("reference_token_ids").list.len()
    )
    columns = zip(
        *(advantages.column(name).to_pylist() for name in ("advantages", "reference_advantage")),
        *(lengths.get_column(name).to_list() for name in ("completion_token_ids", "reference_token_ids")),
        strict=True,
    )
    return [
        row
        for row, (samples, reference, sample_lengths, reference_length) in enumerate(columns)
        if any(value is not None and length for value, length in zip(samples, sample_lengths, strict=False))
        or (reference is not None and reference_length)
    ]


def _training_group(row: dict[str, Any]) -> TrainingGroup:
    samples: list[float | None] = row["advantages"]
    completions: list[list[int]] = row["completion_token_ids"]
    logprobs: list[list[float]] | None = row["completion_logprobs"]
    rewards: list[float | None] = row["rewards"]
    weights: list[list[float] | None] | None = row["token_weights"]
    if len(samples) != len(completions):
        raise MismatchError(
            f"group {row['group_id']} has {len(completions)} samples but {len(samples)} advantages. "
            "Compute the advantages of these groups again."
        )
    trained = [i for i, value in enumerate(samples) if value is not None and completions[i]]
    values = [float(samples[i] or 0.0) for i in trained]
    scored = [float(reward) for reward in (rewards[i] for i in trained) if reward is not None]
    reference_ids, reference_advantage = row["reference_token_ids"], row["reference_advantage"]
    has_reference = bool(reference_ids) and reference_advantage is not None
    shared: dict[str, Any] = {
        "prompt_token_ids": row["prompt_token_ids"],
        "group_size": len(trained),
        "group_mean_advantage": sum(values) / len(values) if values else 0.0,
        "group_has_reference": has_reference,
        "group_mean_reward": sum(scored) / len(scored) if scored else None,
        "group_id": str(row["group_id"]),
    }
    sequences = [
        TrainingSequence(
            token_ids=completions[i],
            advantage=value,
            is_reference=False,
            reward=rewards[i],
            behavior_logprobs=logprobs[i] if logprobs is not None else None,
            token_weights=_token_weights(weights, i, completions[i], row["group_id"]),
            **shared,
        )
        for i, value in zip(trained, values, strict=True)
    ]
    if has_reference:
        sequences.append(
            TrainingSequence(
                token_ids=reference_ids,
                advantage=float(reference_advantage),
                is_reference=True,
                reward=None,
                behavior_logprobs=None,
                **shared,
            )
        )
    return TrainingGroup(str(row["group_id"]), sequences)


def _token_weights(
    weights: list[list[float] | None] | None, sample: int, token_ids: list[int], group_id: str
) -> list[float] | None:
    found = weights[sample] if weights is not None else None
    if found is not None and len(found) != len(token_ids):
        raise MismatchError(
            f"group {group_id}: sample {sample} has {len(token_ids)} tokens but {len(found)} token_weights. "
            "Compute the advantages of these groups again."
        )
    return found
