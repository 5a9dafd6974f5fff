"""Which rows a reward is meant for: `--when`, and `--missing skip`."""

from collections.abc import Iterator, Mapping, Sequence

from grao_pipeline.errors import UsageError
from grao_pipeline.options import closest
from grao_pipeline.scoring.condition import Condition
from grao_pipeline.scoring.metadata import field_value
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import REFERENCE_FIELD, Judgement, Reward


class Applicability:
    """Decides whether a row's samples and reference are judged at all.

    Raises:
        UsageError: the options cannot have an effect on this reward.
    """

    def __init__(self, options: ScoreOptions, reward: Reward) -> None:
        self._condition = None if options.when is None else Condition.parse(options.when)
        self._fields = reward.fields() if options.missing == "skip" else ()
        if options.missing == "skip" and not self._fields:
            raise UsageError(
                f"'skip' has no effect: reward '{options.reward}' declares no field that a row may lack. Choose the "
                "rows with --when; a function returns None where it does not apply.",
                option="missing",
            )

    def exclusion(self, metadata: Mapping[str, object], reference: str | None) -> Judgement | None:
        """The judgement of all sequences of a row that the reward is not meant for; None where it is.

        Raises:
            ConditionError: the condition orders values that have no order.
        """
        if self._condition is not None and not self._condition.applies_to(metadata):
            return Judgement(None, "not_applicable", f"not the case: {self._condition.text}")
        for name in self._fields:
            value = reference if name == REFERENCE_FIELD else field_value(metadata, name)
            if value is None:
                where = "no reference" if name == REFERENCE_FIELD else f"no '{name}' in the metadata"
                return Judgement(None, "not_applicable", where)
        return None


def uniform_condition(options: ScoreOptions) -> str | None:
    """The condition in its uniform spelling, for the identity of the scores."""
    return None if options.when is None else Condition.parse(options.when).text


def absent_fields(condition: str, rows: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """A note on every field of `--when` that none of these rows has: it may be misspelled, and counts as null.

    Args:
        rows: metadata.
    """
    known = sorted({key for metadata in rows for key in metadata})
    for name in Condition.parse(condition).fields:
        if rows and all(field_value(metadata, name) is None for metadata in rows):
            hint = closest(name, known) or f" There are: {', '.join(known[:20]) or 'none'}."
            yield f"--when: none of the first {len(rows):,} groups has a field '{name}' in its metadata.{hint}"
