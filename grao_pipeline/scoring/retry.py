"""`--retry-errors`: which sequences of a stored part are judged once more."""

from collections.abc import Sequence
from typing import Any

from grao_pipeline.scoring.rewards.base import Candidate, Judgement

Row = dict[str, Any]
Sequences = list[Candidate | Judgement]


def without_judged(sequences: Sequences, stored: Row) -> Sequences:
    """The sequences of a group, with the stored judgement in place of each that is no error.

    The status of a reference is not stored: one without a reward is judged once more.

    Args:
        sequences: the samples, then the reference if the group has one.
        stored: the row of the scores.
    """
    details = stored["details"] or [None] * len(stored["statuses"])
    judgements = [Judgement(*sample) for sample in zip(stored["rewards"], stored["statuses"], details, strict=True)]
    if len(sequences) > len(judgements):
        reward = stored["reference_reward"]
        judgements.append(Judgement(reward, "error" if reward is None else "ok"))
    return [
        sequence if judgement.status == "error" else judgement
        for sequence, judgement in zip(sequences, judgements, strict=True)
    ]


def num_candidates(groups: Sequence[Sequences]) -> int:
    """The number of sequences that are still to be judged."""
    return sum(isinstance(sequence, Candidate) for group in groups for sequence in group)
