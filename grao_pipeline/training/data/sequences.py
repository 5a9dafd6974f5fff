"""The sequences that are trained on, in groups, and how a step's are cut into micro-batches. It knows no tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class TopTokens:
    """The K likeliest tokens of another model at every place of a sequence. [L, K] each"""

    ids: list[list[int]]
    logprobs: list[list[float]]


@dataclass(frozen=True)
class TrainingSequence:
    """A sequence with an advantage, a sample or the reference, with everything that its weight depends on.

    Example: `TrainingSequence([1, 2], [7, 3], 0.5, False, 8, 0.1, True, 1.0, [-0.2, -1.0])`
    """

    prompt_token_ids: list[int]
    token_ids: list[int]
    """The continuation of the prompt. [L], L >= 1"""
    advantage: float
    is_reference: bool
    group_size: int
    """G: number of samples of its group that have an advantage (and a token)."""
    group_mean_advantage: float
    """(1/G) Σ_i Â_i over those samples; 0 without samples."""
    group_has_reference: bool
    """Whether the group's reference is trained on."""
    reward: float | None
    """None where it has none."""
    behavior_logprobs: list[float] | None
    """Log-probs of a sample under the policy that sampled, at temperature 1, where the groups store them. [L]"""
    token_weights: list[float] | None = None
    """Factors of a sample's tokens, where the estimator makes them. [L]"""
    group_mean_reward: float | None = None
    """Mean reward of the group's samples that have an advantage; None where no such sample has a reward."""
    group_id: str = ""
    origin: int = 0
    """Number of its group's origin in `TrainingSet.origins`."""
    mask: list[bool] | None = None
    """Which tokens the policy sampled; the others are context, as the prompt is. None: all of them. [L]"""
    sampling_logprobs: list[float] | None = None
    """Log-probs under the distribution that was sampled from (temperature, top-p, …); None: it was the policy. [L]"""
    group_tokens: int = 0
    """Number of tokens, those that were not sampled left out, of its group's samples that have an advantage."""
    logprobs: Mapping[str, list[float]] = field(default_factory=dict)
    """By the NAME of `--logprobs`, the log-probs under another model. [L] each"""
    top: Mapping[str, TopTokens] = field(default_factory=dict)
    """By the NAME of `--logprobs`, the model's likeliest tokens, where the table has them."""
    sampling_is_unknown: bool = False
    """It was sampled from another distribution than the policy, and the groups do not store its log-probs."""

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_token_ids) + len(self.token_ids)

    def sampled(self, values: Sequence[T]) -> Sequence[T]:
        """Of one value per token, those of the tokens that the policy sampled. [L] → [N]"""
        return values if self.mask is None else list(compress(values, self.mask))


@dataclass(frozen=True)
class TrainingGroup:
    """The trained sequences of one group."""

    group_id: str
    sequences: list[TrainingSequence]


def micro_batches(
    groups: Sequence[TrainingGroup], tokens_per_batch: int, whole_groups: bool = False
) -> Iterator[list[TrainingSequence]]:
    """Cut a step's sequences into batches of at most `tokens_per_batch` tokens, a prompt counted once per group.

    A group is cut only where it is larger than a batch, and never with `whole_groups`. Any cut gives the same gradient:
    a sequence carries everything that its weight depends on.
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
    """A group's sequences in pieces that fit a batch; a sequence that does not fit is a piece by itself."""
    piece: list[TrainingSequence] = []
    for sequence in sequences:
        if piece and _tokens([*piece, sequence]) > tokens_per_batch:
            yield piece
            piece = []
        piece.append(sequence)
    if piece:
        yield piece


def _tokens(sequences: Sequence[TrainingSequence]) -> int:
    """Number of tokens of sequences of one group, its prompt counted once."""
    return len(sequences[0].prompt_token_ids) + sum(len(sequence.token_ids) for sequence in sequences)
