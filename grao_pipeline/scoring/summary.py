"""What `grao score` says of the scores table, and of what this run judged."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from grao_pipeline import notes
from grao_pipeline.contract import Row
from grao_pipeline.scoring.rewards.base import REFERENCE_FIELD, Judgement, Reward
from grao_pipeline.scoring.rewards.expected import concerns_expected

SUMMARY_COLUMNS = ["group_id", "rewards", "reference_reward", "statuses", "details"]
"""Columns of scores that are counted."""
COUNTED_BY_PROCESS = (
    "parts_made",
    "steps_left_out",
    "cache_hits",
    "cache_misses",
    "cache_damaged",
    "tokens_spent",
    "tokens_saved",
)
"""Counts of what a run did, not of the table."""


@dataclass
class ScoreSummary:
    """Samples, references and rewards are those of the whole table; what was judged and spent is of this run."""

    groups: int = 0
    parts_made: int = 0
    parts_found: int = 0
    samples: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    references_scored: int = 0
    references_failed: int = 0
    """References without a reward that the reward is meant for."""
    references_rejected: int = 0
    """References that their verifier takes for wrong: they contradict the expected answer, or it cannot read them."""
    expected_unreadable: int = 0
    """Groups whose expected answer their verifier cannot read."""
    mean_reward: float | None = None
    mean_reference_reward: float | None = None
    verdicts: dict[str, float] = field(default_factory=dict)
    """Of a judge that compares: the shares of wins, ties and losses; `consistent`: of comparisons, those with the same
    verdict in both orders; `first_position`: of decided verdicts, those for the answer that the judge reads first."""
    parts_rewritten: int = 0
    """By --retry-errors."""
    samples_retried: int = 0
    """Samples with an error that were judged once more."""
    errors_left: int = 0
    """Of these, those that failed again."""
    steps_left_out: int = 0
    """Samples of this run whose answer is in several pieces, so that its steps have no place in the completion."""
    cache_hits: int = 0
    """Sequences, references included, whose judgement was known: from the cache, or from an equal sequence."""
    cache_misses: int = 0
    cache_damaged: int = 0
    """Judgements of the cache whose checksum is wrong; they were made anew."""
    tokens_spent: int = 0
    """Tokens that a judge read and wrote."""
    tokens_saved: int = 0
    """Tokens that it did not have to read and write, because of the cache hits."""
    seconds: float = 0.0
    """Of judging the missing parts and writing them, models that are loaded meanwhile included; of several processes
    those of the slowest."""
    parts_left_to_other_workers: int = 0
    fingerprint: str = ""
    name: str = ""
    remarks: list[str] = field(default_factory=list)
    """What the reward and the cache of judgements say; the notes begin with it."""
    notes: list[str] = field(default_factory=list)

    def add_process(self, summary: Mapping[str, Any]) -> None:
        """Add what another process of this run did.

        Args:
            summary: its summary, as JSON.
        """
        for name in COUNTED_BY_PROCESS:
            setattr(self, name, getattr(self, name) + summary[name])
        self.seconds = max(self.seconds, summary["seconds"])
        self.remarks += [remark for remark in summary["remarks"] if remark not in self.remarks]


class ScoreTally:
    """Adds up the parts of a table.

    Args:
        summary: receives the counts.
        condition: which rows the reward is meant for, for a note.
    """

    def __init__(self, summary: ScoreSummary, reward: Reward, condition: str | None) -> None:
        self._summary = summary
        self._reward = reward
        self._has_verdicts = type(reward).verdicts is not Reward.verdicts
        self._condition = condition
        self._rewards: list[float] = []
        self._references: list[float] = []
        self._verdicts: Counter[str] = Counter()
        self._num_rows = 0
        self._num_references = 0
        self._error = ""
        self._first_rejected = ""
        self._first_unreadable = ""

    def add(self, scores: Sequence[Row], has_reference: Sequence[bool]) -> None:
        """Count the rows of a part.

        Args:
            has_reference: per row.
        """
        for row, is_present in zip(scores, has_reference, strict=True):
            self._add_samples(row)
            if self._reward.verifies:
                self._check_expected(row)
            self._num_rows += 1
            self._num_references += is_present
            if row["reference_reward"] is not None:
                self._references.append(row["reference_reward"])
                self._summary.references_scored += 1
            elif is_present and set(row["statuses"]) != {"not_applicable"}:
                self._summary.references_failed += 1

    def finish(self) -> None:
        """The means, the shares of the verdicts, and the notes."""
        summary = self._summary
        summary.statuses = dict(sorted(summary.statuses.items()))
        summary.mean_reward = _mean(self._rewards)
        summary.mean_reference_reward = _mean(self._references)
        summary.verdicts = _shares(self._verdicts)
        summary.notes = [*summary.remarks, *self._notes()]

    def _add_samples(self, row: Row) -> None:
        summary = self._summary
        summary.samples += len(row["statuses"])
        for reward, (status, detail) in zip(row["rewards"], _details(row), strict=True):
            summary.statuses[status] = summary.statuses.get(status, 0) + 1
            if status == "ok":
                self._rewards.append(reward)
                if self._has_verdicts:
                    self._verdicts.update(self._reward.verdicts(Judgement(reward, "ok", detail)))
            elif status != "not_applicable":
                self._error = self._error or detail or ""

    def _check_expected(self, row: Row) -> None:
        """Count a reference that is wrong by its verifier, and an expected answer that the verifier cannot read."""
        if row["reference_reward"] is not None and row["reference_reward"] < 1:
            self._summary.references_rejected += 1
            self._first_rejected = self._first_rejected or row["group_id"]
        if any(status == "error" and concerns_expected(detail or "") for status, detail in _details(row)):
            self._summary.expected_unreadable += 1
            self._first_unreadable = self._first_unreadable or row["group_id"]

    def _notes(self) -> Iterator[str]:
        summary, rewards = self._summary, self._rewards
        applicable = summary.samples - summary.statuses.get("not_applicable", 0)
        if summary.samples and not applicable:
            yield from notes.not_applicable(self._num_rows, self._condition)
            return
        if summary.steps_left_out:
            yield from notes.steps_left_out(summary.steps_left_out)
        if summary.parts_rewritten:
            yield from notes.rewritten(summary.parts_rewritten)
        yield from notes.references(self._num_references, self._num_rows)
        yield from notes.rejected_references(
            summary.references_rejected, summary.references_scored, self._first_rejected
        )
        yield from notes.unreadable_answers(summary.expected_unreadable, self._num_rows, self._first_unreadable)
        yield from notes.unscored(applicable - len(rewards), applicable, self._error)
        if len(rewards) > 1 and min(rewards) == max(rewards):
            yield from notes.constant_reward(rewards[0], len(rewards))
        # A reward that compares with the reference gives the reference itself a fixed value.
        if rewards and self._references and REFERENCE_FIELD not in self._reward.fields():
            yield from self._notes_on_references()
        if summary.verdicts:
            yield from notes.judge(summary.verdicts, sum(self._verdicts[name] for name in ("win", "tie", "loss")))

    def _notes_on_references(self) -> Iterator[str]:
        lowest, highest = min(*self._rewards, *self._references), max(*self._rewards, *self._references)
        are_worst = max(self._references) == lowest and (lowest < highest or lowest <= 0)
        references, samples = fmean(self._references), fmean(self._rewards)
        yield from notes.weak_references(references, samples, len(self._references), are_worst)


def _details(row: Row) -> list[tuple[str, str | None]]:
    """(status, detail) per sample."""
    details = row["details"] or [None] * len(row["statuses"])
    return list(zip(row["statuses"], details, strict=True))


def _shares(verdicts: Counter[str]) -> dict[str, float]:
    """Counts by name → shares of what can be compared with each other."""
    shares: dict[str, float] = {}
    for names, shown in (
        (("win", "tie", "loss"), ("win", "tie", "loss")),
        (("consistent", "inconsistent"), ("consistent",)),
        (("first", "second"), ("first",)),
    ):
        total = sum(verdicts[name] for name in names)
        if total:
            shares |= {"first_position" if name == "first" else name: verdicts[name] / total for name in shown}
    return shares


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
