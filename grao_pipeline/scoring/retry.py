"""`--retry-errors`: which sequences of a stored part are judged once more."""

from collections.abc import Sequence
from typing import Any

from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from grao_pipeline.scoring.steps import Step

Row = dict[str, Any]
Sequences = list[Candidate | Judgement]


def without_judged(sequences: Sequences, stored: Row, starts: Sequence[int | None]) -> Sequences:
    """The sequences of a group, with the stored judgement in place of each that is no error.

    The status of a reference is not stored: one without a reward is judged once more.

    Args:
        sequences: the samples, then the reference if the group has one.
        stored: the row of the scores.
        starts: see `SeenTexts`.
    """
    nothing = [None] * len(stored["statuses"])
    samples = zip(stored["rewards"], stored["statuses"], stored["details"] or nothing, strict=True)
    judgements = [
        Judgement(
            *sample, steps=[Step(step["end"] - (start or 0), step["reward"], step["state"]) for step in steps or []]
        )
        for sample, steps, start in zip(samples, stored.get("steps") or nothing, starts, strict=True)
    ]
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
