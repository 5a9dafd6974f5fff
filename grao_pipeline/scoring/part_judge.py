"""Parts of a groups table → rows of scores: what a reward sees of each group, and what its judgements become."""

from collections.abc import Sequence

from grao_pipeline.contract import Row
from grao_pipeline.errors import InputError
from grao_pipeline.json_text import InvalidJson, parse_object
from grao_pipeline.messages import plain_messages
from grao_pipeline.progress import Bar
from grao_pipeline.scoring.applicability import Applicability
from grao_pipeline.scoring.cached_reward import CachedReward
from grao_pipeline.scoring.condition import ConditionError
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from grao_pipeline.scoring.seen_texts import SeenTexts
from grao_pipeline.scoring.steps import steps_column
from grao_pipeline.scoring.summary import ScoreSummary
from grao_pipeline.storage.reader import TableReader

COLUMNS = ["group_id", "messages", "reference", "metadata", "completions", "reasoning", "answers", "finish_reasons"]
REFERENCE = -1
ABORTED_SAMPLE = Judgement(None, "error", "the sample was aborted")

Sequences = list[Candidate | Judgement]
"""A group's samples and its reference, if it has one; a judgement in place of those that are not judged."""


class PartJudge:
    """Judges the parts of a groups table.

    Args:
        scope: which rows the reward is meant for.
        seen: what the reward sees of their texts.
        summary: counts steps that have no place.
    """

    def __init__(
        self, groups: TableReader, judge: CachedReward, scope: Applicability, seen: SeenTexts, summary: ScoreSummary
    ) -> None:
        self._groups = groups
        self._judge = judge
        self._scope = scope
        self._seen = seen
        self._summary = summary

    def rows(self, index: int) -> list[Row]:
        """The groups of a part, with the texts that the reward sees."""
        return [self._seen.row(row) for row in self._groups.part(index, COLUMNS).to_pylist()]

    def metadata(self, index: int) -> list[dict[str, object]]:
        """Of the groups of a part. Raises InputError where it cannot be read."""
        return [_metadata(row) for row in self._groups.part(index, ["group_id", "metadata"]).to_pylist()]

    def sequences(self, row: Row) -> Sequences:
        """Raises InputError where the row's metadata cannot be read, or --when cannot be decided."""
        metadata = _metadata(row)
        try:
            exclusion = self._scope.exclusion(metadata, row["reference"])
        except ConditionError as error:
            raise InputError(f"Group {row['group_id']}: --when: {error}.") from error
        if exclusion is not None:
            return [exclusion] * (len(row["completions"]) + (row["reference"] is not None))
        return _candidates(row, metadata, self._judge.reads_group)

    def ask_ahead(self, indices: Sequence[int]) -> None:
        """Let the reward ask about all candidates of some parts at once."""
        groups = (self.sequences(row) for index in indices for row in self.rows(index))
        self._judge.ask_ahead(sequence for group in groups for sequence in group if isinstance(sequence, Candidate))

    def judgements(self, sequences: Sequence[Sequences], bar: Bar) -> list[list[Judgement]]:
        """Judge the sequences of some groups in one call."""
        judge = self._judge
        candidates = [sequence for group in sequences for sequence in group if isinstance(sequence, Candidate)]
        groups_per_candidate = len(sequences) / max(1, len(candidates))

        def on_judged(num: int) -> None:
            counts = {"judgements": judge.hits + judge.misses, "cache_hits": judge.hits, "cache_misses": judge.misses}
            bar.advance(num * groups_per_candidate, **counts)

        judgements = iter(judge.score(candidates, on_judged))
        if not candidates:
            bar.advance(len(sequences))
        return [
            [sequence if isinstance(sequence, Judgement) else next(judgements) for sequence in group]
            for group in sequences
        ]

    def scores(self, row: Row, judgements: Sequence[Judgement]) -> Row:
        """A row of the scores table."""
        samples = judgements[: len(row["completions"])]
        steps = [judgement.steps for judgement in samples]
        without_place = (bool(of) and start is None for of, start in zip(steps, row["starts"], strict=True))
        self._summary.steps_left_out += sum(without_place)
        return {
            "group_id": row["group_id"],
            "rewards": [judgement.reward for judgement in samples],
            "reference_reward": judgements[-1].reward if row["reference"] is not None else None,
            "statuses": [judgement.status for judgement in samples],
            "details": [judgement.detail for judgement in samples],
            "steps": steps_column(steps, row["starts"]),
        }


def _candidates(row: Row, metadata: dict[str, object], reads_group: bool) -> Sequences:
    messages = plain_messages(row["messages"])
    texts = [
        None if reason == "abort" else text
        for text, reason in zip(row["completions"], row["finish_reasons"], strict=True)
    ]
    seen = texts if reads_group else []

    def candidate(text: str | None, number: int) -> Candidate | Judgement:
        if text is None:
            return ABORTED_SAMPLE
        others = [other for index, other in enumerate(seen) if index != number and other is not None]
        finish_reason = "stop" if number == REFERENCE else row["finish_reasons"][number]
        return Candidate(messages, text, row["reference"], metadata, others if reads_group else (), finish_reason)

    references = [] if row["reference"] is None else [candidate(row["reference"], REFERENCE)]
    return [*(candidate(text, number) for number, text in enumerate(texts)), *references]


def _metadata(row: Row) -> dict[str, object]:
    try:
        return parse_object(row["metadata"])
    except InvalidJson as error:
        raise InputError(f"Group {row['group_id']}: 'metadata' is not a JSON object ({error}).") from error
