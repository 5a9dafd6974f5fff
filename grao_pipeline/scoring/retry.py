"""`--retry-errors`: the sequences of a stored table whose status is error are judged once more."""

from collections.abc import Sequence
from itertools import chain

from grao_pipeline.contract import Row
from grao_pipeline.progress import Bar, Progress
from grao_pipeline.schemas import SCORES
from grao_pipeline.scoring.part_judge import PartJudge, Sequences
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from grao_pipeline.scoring.steps import Step
from grao_pipeline.scoring.summary import ScoreSummary
from grao_pipeline.storage.rows_to_arrow import rows_to_arrow
from grao_pipeline.storage.writer import TableWriter


def retry_errors(parts: PartJudge, writer: TableWriter, summary: ScoreSummary, progress: Progress) -> None:
    """Judge the errors of the committed parts once more. A part with a new judgement is rewritten as a whole; until all
    are, the table counts as unfinished, and the same command resumes."""
    with progress.track("retrying errors", writer.num_committed, "parts") as bar:
        for index in writer.committed():
            rows, stored = parts.rows(index), writer.read(index).to_pylist()
            sequences = [
                _without_judged(parts.sequences(row), of_row, row["starts"])
                for row, of_row in zip(rows, stored, strict=True)
            ]
            if any(isinstance(sequence, Candidate) for sequence in chain(*sequences)):
                judgements = parts.judgements(sequences, Bar())
                scores = [
                    {**of_row, **parts.scores(row, judged)}
                    for of_row, row, judged in zip(stored, rows, judgements, strict=True)
                ]
                for row, group, judged in zip(rows, sequences, judgements, strict=True):
                    _count(group[: len(row["completions"])], judged, summary)
                if scores != stored:
                    writer.replace(index, rows_to_arrow(scores, SCORES.arrow()))
                    summary.parts_rewritten += 1
            bar.advance(1, retried=summary.samples_retried, errors_left=summary.errors_left)


def _without_judged(sequences: Sequences, stored: Row, starts: Sequence[int | None]) -> Sequences:
    """The sequences of a group, with the stored judgement in place of each that is not an error.

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


def _count(samples: Sequences, judgements: Sequence[Judgement], summary: ScoreSummary) -> None:
    for sample, judgement in zip(samples, judgements, strict=False):
        summary.samples_retried += isinstance(sample, Candidate)
        summary.errors_left += isinstance(sample, Candidate) and judgement.status == "error"
