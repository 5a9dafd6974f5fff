"""Groups and advantages → groups of sequences to train on, in a seeded order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import polars as pl

from grao_pipeline.contract import Row
from grao_pipeline.errors import InputError, MismatchError, StageFailure
from grao_pipeline.storage.reader import TableReader
from grao_pipeline.storage.table_pair import TablePair
from grao_pipeline.training.data.origins import find_origins
from grao_pipeline.training.data.scan import scan
from grao_pipeline.training.data.sequences import TopTokens, TrainingGroup, TrainingSequence
from grao_pipeline.training.data.tables import KeptParts, logprobs_of, refuse_shared_groups

TOKEN_ADVANTAGES = "token_advantages"
"""Detail of an advantages table's provenance: tokens of a sample have advantages of different signs."""


class TrainingSet:
    """The groups that have at least one sequence to train on: those of the main tables, then those of the replayed
    tables. They are read once to know them; their tokens are read again when they are asked for (`KeptParts`).

    Args:
        max_rounds_behind: skip groups that are more than this many rounds older than the newest group of all tables.
        replay: further pairs of a groups table and its advantages.
        logprobs: by their names, log-probs of these groups under other models: one table for each groups table.

    Attributes:
        num_groups: number of groups in all tables.
        num_too_old: groups that were skipped for their age and would have been trained on.
        origins: in the order of the data, without groups that are too old.
        token_advantages: the function that gave each token its own advantage; empty without one.

    Raises:
        MismatchError: a pair of tables does not hold the same groups, or two pairs share one.
        InputError: a table has no tokens.
    """

    def __init__(
        self,
        groups: TableReader,
        advantages: TableReader,
        max_rounds_behind: int | None = None,
        replay: Sequence[tuple[TableReader, TableReader]] = (),
        logprobs: Sequence[tuple[str, TableReader]] = (),
    ) -> None:
        pairs = [TablePair(*pair) for pair in ((groups, advantages), *replay)]
        others = [logprobs_of(pair.groups, logprobs) for pair in pairs]
        rows = pl.concat([scan(number, pair, others[number]) for number, pair in enumerate(pairs)])
        refuse_shared_groups(pairs)
        index = find_origins(rows, [pair.groups.fingerprint for pair in pairs], max_rounds_behind)
        self.origins, self.num_too_old, self.num_groups = index.origins, index.num_too_old, len(rows)
        self._rows = index.rows
        self._places = index.rows.select("table", "part", "row", "origin").to_numpy()
        self._parts = KeptParts(pairs, others)
        self._logprobs = others
        self._urls = [pair.groups.url for pair in pairs]
        details = [str(pair.companion.provenance.details.get(TOKEN_ADVANTAGES, "")) for pair in pairs]
        self.token_advantages = next(filter(None, details), "")

    @property
    def policies(self) -> set[str]:
        """Fingerprints of the policies that sampled the groups, without groups that are too old."""
        return {origin.policy for origin in self.origins}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> TrainingGroup:
        """Raises StageFailure where memory runs out."""
        number, part_index, row, origin = map(int, self._places[index])
        try:
            part = self._parts.part(number, part_index)
            values = {**part.groups.slice(row, 1).to_pylist()[0], **part.advantages.slice(row, 1).to_pylist()[0]}
            others = {name: table.slice(row, 1).to_pylist()[0] for name, table in part.logprobs.items()}
            return _training_group(values, origin, others)
        except MemoryError as error:
            raise StageFailure(
                f"Out of memory while the group in row {row} of part {part_index} of {self._urls[number]} was read. "
                "The tokens of a whole step are in memory: lower --groups-per-step, or train on a machine with more."
            ) from error

    def num_top_tokens(self, name: str) -> list[int]:
        """How many likeliest tokens the tables of log-probs with this name have at every place, ascending."""
        return sorted({int(of_pair[name].provenance.options.get("top_k", 0)) for of_pair in self._logprobs})

    def which(self, *facts: str) -> list[int]:
        """Indices of the groups of which one of these facts is true: columns of `scan`. Nothing is read."""
        return self._rows.select(pl.any_horizontal(facts).arg_true()).to_series().to_list()

    def check_fits(self, vocab_size: int, context_length: int | None) -> None:
        """Check every trained sequence against the model.

        Raises:
            InputError: a prompt is empty, a token id is outside the vocabulary, or a sequence is longer than the
            model's positions.
            MismatchError: what is stored of a group's samples does not go together.
        """
        suspect = pl.col("is_odd") | (pl.col("lowest") < 0) | (pl.col("highest") >= vocab_size)
        if context_length is not None:
            suspect |= pl.col("longest") > context_length
        for index in self._rows.select(suspect.arg_true()).to_series():
            check_group(self[index], vocab_size, context_length)


def check_group(group: TrainingGroup, vocab_size: int, context_length: int | None) -> None:
    """Check the sequences of a group against a model.

    Raises:
        InputError: a prompt is empty, a token id is outside the vocabulary, or a sequence is longer than the model's
        positions.
    """
    for sequence in group.sequences:
        if not sequence.prompt_token_ids:
            raise InputError(
                f"Group {group.group_id} has an empty prompt_token_ids: nothing predicts the first token of "
                "its samples. A prompt needs at least one token."
            )
        ids = [*sequence.prompt_token_ids, *sequence.token_ids]
        outside = next((token for token in (min(ids), max(ids)) if not 0 <= token < vocab_size), None)
        if outside is not None:
            raise InputError(
                f"Group {group.group_id} holds token id {outside}; the model's vocabulary has {vocab_size}. "
                "Train the model that sampled these groups."
            )
        if context_length is not None and sequence.num_tokens > context_length:
            raise InputError(
                f"Group {group.group_id} has a sequence of {sequence.num_tokens} tokens; the model's positions "
                f"end at {context_length}. Generate shorter samples, or train a model with more positions."
            )


def epoch_order(num_groups: int, seed: int, epoch: int) -> list[int]:
    """A permutation that depends only on the seed and the epoch."""
    return [int(index) for index in np.random.default_rng([seed, epoch]).permutation(num_groups)]


def step_plan(num_groups: int, groups_per_step: int, epochs: int, seed: int) -> Iterator[tuple[int, list[int]]]:
    """(epoch, indices of the groups) of every optimizer step, in order. A step never spans two epochs."""
    for epoch in range(epochs):
        order = epoch_order(num_groups, seed, epoch)
        for start in range(0, num_groups, groups_per_step):
            yield epoch, order[start : start + groups_per_step]


class _OfGroup(TypedDict):
    """What the sequences of a group share."""

    prompt_token_ids: list[int]
    group_size: int
    group_mean_advantage: float
    group_has_reference: bool
    group_mean_reward: float | None
    group_id: str
    origin: int
    group_tokens: int


def _training_group(row: Row, origin: int, others: Mapping[str, Row]) -> TrainingGroup:
    """Args: others: the rows of log-probs under other models, by name."""
    completions: list[list[int]] = row["completion_token_ids"]
    advantages: list[float | None] = row["advantages"]
    if len(advantages) != len(completions):
        raise MismatchError(
            f"Group {row['group_id']} has {len(completions)} samples but {len(advantages)} advantages. "
            "Compute the advantages of these groups again."
        )
    trained = [i for i, value in enumerate(advantages) if value is not None and completions[i]]
    values = [float(advantages[i] or 0.0) for i in trained]
    scored = [float(reward) for reward in (row["rewards"][i] for i in trained) if reward is not None]
    masks = row["completion_masks"] or [None] * len(completions)
    has_reference = bool(row["reference_token_ids"]) and row["reference_advantage"] is not None
    shared: _OfGroup = {
        "prompt_token_ids": row["prompt_token_ids"],
        "group_size": len(trained),
        "group_mean_advantage": sum(values) / len(values) if values else 0.0,
        "group_has_reference": has_reference,
        "group_mean_reward": sum(scored) / len(scored) if scored else None,
        "group_id": str(row["group_id"]),
        "origin": origin,
        "group_tokens": sum(len(completions[i]) if masks[i] is None else sum(masks[i]) for i in trained),
    }
    sequences = [_sample(row, i, others, shared) for i in trained]
    if has_reference:
        sequences.append(_reference(row, others, shared))
    return TrainingGroup(str(row["group_id"]), sequences)


def _sample(row: Row, number: int, others: Mapping[str, Row], shared: _OfGroup) -> TrainingSequence:
    def value(column: str) -> Any:
        values = row[column]
        return values[number] if values else None

    ids, weights, sampling = (
        value(name) for name in ("completion_token_ids", "token_weights", "completion_behavior_logprobs")
    )
    if weights is not None and len(weights) != len(ids):
        raise MismatchError(
            f"Group {row['group_id']}: sample {number} has {len(ids)} tokens but {len(weights)} token_weights. "
            "Compute the advantages of these groups again."
        )
    return TrainingSequence(
        token_ids=ids,
        advantage=float(value("advantages")),
        is_reference=False,
        reward=value("rewards"),
        behavior_logprobs=value("completion_logprobs"),
        sampling_logprobs=sampling,
        sampling_is_unknown=row["completion_behavior_logprobs"] is not None and sampling is None,
        token_weights=weights,
        mask=value("completion_masks"),
        logprobs={name: of["sample_logprobs"][number] for name, of in others.items()},
        top={
            name: TopTokens(of["sample_top_ids"][number], of["sample_top_logprobs"][number])
            for name, of in others.items()
            if of["sample_top_ids"] is not None
        },
        **shared,
    )


def _reference(row: Row, others: Mapping[str, Row], shared: _OfGroup) -> TrainingSequence:
    return TrainingSequence(
        token_ids=row["reference_token_ids"],
        advantage=float(row["reference_advantage"]),
        is_reference=True,
        reward=row["reference_reward"],
        behavior_logprobs=None,
        logprobs={name: of["reference_logprobs"] for name, of in others.items()},
        top={
            name: TopTokens(of["reference_top_ids"], of["reference_top_logprobs"])
            for name, of in others.items()
            if of["reference_top_ids"] is not None
        },
        **shared,
    )
