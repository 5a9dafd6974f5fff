"""What every place of judgements has in common: their identities, checksums and methods."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from grao_pipeline.fingerprints import fingerprint, message_key
from grao_pipeline.messages import Message
from grao_pipeline.scoring.rewards.base import Candidate, Judgement

SECONDS_PER_DAY = 86_400
DAMAGED = "damaged"
"""Status of judgements whose checksum is wrong."""


def with_fingerprints(candidates: Iterable[Candidate], reads_group: bool) -> Iterator[tuple[str, Candidate]]:
    """Each candidate after the identity of everything that the reward sees of it.

    Args:
        reads_group: whether the reward sees the other samples of the group.
    """
    messages: Sequence[Message] | None = None
    turns: list[list[object]] = []
    for candidate in candidates:
        if candidate.messages is not messages:  # those of a group share them
            messages = candidate.messages
            turns = [message_key(message) for message in messages]
        others = list(candidate.others) if reads_group else []
        texts = [candidate.completion, candidate.finish_reason, candidate.reference]
        yield fingerprint([turns, *texts, dict(candidate.metadata), others]), candidate


def row_checksum(reward: object, candidate: object, *value: object) -> bytes:
    """The checksum of a judgement.

    Args:
        reward, candidate: its key: the fingerprint of the reward, and that of the candidate as bytes.
        value: reward, status, detail, tokens, and the text of the steps, which does not count where it is None:
            the judgements of earlier versions have no steps.
    """
    counted = value[:-1] if value[-1] is None else value
    return hashlib.blake2b(repr((reward, candidate, *counted)).encode(), digest_size=8).digest()


@dataclass(frozen=True)
class CacheLine:
    """One line of `grao cache info`."""

    reward: str
    """Fingerprint of the reward."""
    name: str
    judgements: int
    tokens: int
    """Tokens that the judge read and wrote for them."""
    days_unused: float
    """Days since one of them was last used."""
    damaged: int = 0
    """Judgements whose checksum is wrong; they are not used."""


class Judgements(Protocol):
    """A place of judgements: a file of one machine (`JudgementCache`), a directory of several (`SharedJudgements`)."""

    damaged: int

    @property
    def place(self) -> str: ...
    @property
    def num_bytes(self) -> int: ...
    def find(self, reward: str, candidates: Sequence[str]) -> list[Judgement | None]: ...
    def add(self, reward: str, name: str, judged: Iterable[tuple[str, Judgement]]) -> None: ...
    def remarks(self) -> list[str]: ...
    def info(self) -> list[CacheLine]: ...
    def prune(
        self,
        unused_days: float | None = None,
        reward: str | None = None,
        status: str | None = None,
        dry_run: bool = False,
    ) -> int: ...
    def close(self) -> None: ...
