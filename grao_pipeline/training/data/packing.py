"""Groups packed for one pass: each prompt once, then its continuations, no padding.

    [ prompt 0 | sample | sample | … | reference | prompt 1 | sample | … ]

The positions of a continuation start at the end of its prompt; it attends to its prompt and to itself (`attention/`).
Its tokens that the policy did not sample (results of tools) are context, as the prompt is: no target, no log-prob.
Where a group is cut into several batches, its prompt is repeated once in every batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grao_pipeline.training.data.sequences import TrainingSequence


@dataclass(frozen=True)
class PromptLayout:
    """Where one prompt and its n continuations lie in the packed row.

    Example: a prompt of 3 tokens with continuations of 2 and 1, at the row's start:
    `PromptLayout(start=0, prompt_length=3, lengths=(2, 1))`
    """

    start: int
    prompt_length: int
    lengths: tuple[int, ...]

    @property
    def prompt(self) -> slice:
        """The prompt's tokens in the packed row."""
        return slice(self.start, self.start + self.prompt_length)

    @property
    def continuations(self) -> slice:
        """The tokens of all its continuations, one after the other."""
        begin = self.start + self.prompt_length
        return slice(begin, begin + sum(self.lengths))


@dataclass(frozen=True)
class PackedBatch:
    """S sequences of some groups in one row of T tokens, N of them targets: sampled tokens of the continuations.

    Attributes:
        input_ids, position_ids: [1, T].
        layouts: one per prompt.
        predicting: packed position whose hidden state predicts each target. [N]
        targets: the sampled tokens. [N]
        sequence: the sequence of each target. [N]
        column: its number among the targets of its sequence. [N]
        offset: its position in its continuation; the column, unless the sequence has tokens that are not targets. [N]
        lengths: number of targets of each sequence. [S]
        num_unshared_tokens: number of tokens with the prompt repeated for every sequence.
        candidates: K further tokens at the place of every target, whose log-probs a loss reads, too. [N, K]
        candidate_logprobs: theirs under the model that `top_of` names. [N, K]
    """

    input_ids: Tensor
    position_ids: Tensor
    layouts: tuple[PromptLayout, ...]
    predicting: Tensor
    targets: Tensor
    sequence: Tensor
    column: Tensor
    offset: Tensor
    lengths: Tensor
    num_unshared_tokens: int
    candidates: Tensor | None = None
    candidate_logprobs: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        """T: tokens that the decoder processes."""
        return self.input_ids.shape[1]

    @property
    def token_mask(self) -> Tensor:
        """True at a sequence's targets. [S, L]"""
        return torch.arange(int(self.lengths.max()), device=self.lengths.device) < self.lengths[:, None]

    def padded(self, values: Tensor) -> Tensor:
        """Values of the targets [N, …] as one row per sequence, 0 at padding; differentiable. [S, L, …]"""
        rows = values.new_zeros(*self.token_mask.shape, *values.shape[1:])
        return rows.index_put((self.sequence, self.column), values)


def pack(
    sequences: Sequence[TrainingSequence], device: torch.device | str = "cpu", top_of: str | None = None
) -> PackedBatch:
    """Pack sequences in order; neighbors with the same prompt share it.

    Args:
        top_of: name of the other model whose likeliest tokens become the candidates.
    """
    ids: list[int] = []
    positions: list[int] = []
    starts: list[tuple[int, int]] = []  # of every sequence: the packed positions before its first token, and of it
    layouts = []
    for prompt, continuations in by_prompt(sequences):
        start = len(ids)
        ids += prompt
        positions += range(len(prompt))
        for continuation in continuations:
            starts.append((start + len(prompt) - 1, len(ids)))
            ids += continuation
            positions += range(len(prompt), len(prompt) + len(continuation))
        layouts.append(PromptLayout(start, len(prompt), tuple(map(len, continuations))))
    offsets = [sequence.sampled(list(range(len(sequence.token_ids)))) for sequence in sequences]
    predicting = [
        first + offset - 1 if offset else before
        for (before, first), of_sequence in zip(starts, offsets, strict=True)
        for offset in of_sequence
    ]
    lengths = torch.tensor([len(of_sequence) for of_sequence in offsets])
    return PackedBatch(
        input_ids=torch.tensor([ids]).to(device),
        position_ids=torch.tensor([positions]).to(device),
        layouts=tuple(layouts),
        predicting=torch.tensor(predicting).to(device),
        targets=torch.tensor([token for s in sequences for token in s.sampled(s.token_ids)]).to(device),
        sequence=torch.repeat_interleave(torch.arange(len(sequences)), lengths).to(device),
        column=torch.cat([torch.arange(length) for length in lengths.tolist()]).to(device),
        offset=torch.tensor([offset for of_sequence in offsets for offset in of_sequence]).to(device),
        lengths=lengths.to(device),
        num_unshared_tokens=sum(sequence.num_tokens for sequence in sequences),
        **({} if top_of is None else _candidates(sequences, device, top_of)),
    )


def _candidates(sequences: Sequence[TrainingSequence], device: torch.device | str, top_of: str) -> dict[str, Tensor]:
    pairs = [(sequence, sequence.top[top_of]) for sequence in sequences]
    ids = [row for sequence, top in pairs for row in sequence.sampled(top.ids)]
    logprobs = [row for sequence, top in pairs for row in sequence.sampled(top.logprobs)]
    return {
        "candidates": torch.tensor(ids).to(device),
        "candidate_logprobs": torch.tensor(logprobs).to(device),
    }


def packed_tokens(sequences: Sequence[TrainingSequence]) -> int:
    """Number of tokens of these sequences once packed."""
    return sum(len(prompt) + sum(map(len, rest)) for prompt, rest in by_prompt(sequences))


def by_prompt(sequences: Sequence[TrainingSequence]) -> list[tuple[list[int], list[list[int]]]]:
    """(prompt, continuations) of every run of neighbors with the same prompt."""
    runs: list[tuple[list[int], list[list[int]]]] = []
    for sequence in sequences:
        if not runs or runs[-1][0] != sequence.prompt_token_ids:
            runs.append((sequence.prompt_token_ids, []))
        runs[-1][1].append(sequence.token_ids)
    return runs
