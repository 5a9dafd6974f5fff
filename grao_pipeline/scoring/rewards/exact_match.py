"""`exact-match`: 1 where the completion is the expected answer, else 0."""

from collections.abc import Mapping, Sequence
from typing import Any

from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, parse_boolean, take_arguments


class ExactMatch:
    """Compares the stripped completion with `metadata[field]`; with `field=reference`, with the reference.

    Arguments: field (answer), ignore_case (false).
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        taken = take_arguments("exact-match", arguments, field="answer", ignore_case="false")
        self._field = taken["field"]
        self._ignore_case = parse_boolean("exact-match", "ignore_case", taken["ignore_case"])

    def identity(self) -> Mapping[str, Any]:
        return {"field": self._field, "ignore_case": self._ignore_case}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        expected = candidate.reference if self._field == "reference" else candidate.metadata.get(self._field)
        if expected is None:
            missing = "no reference" if self._field == "reference" else f"no '{self._field}' in the metadata"
            return Judgement(None, "error", f"{missing} to compare with")
        return Judgement.of(float(self._normal(candidate.completion) == self._normal(str(expected))))

    def _normal(self, text: str) -> str:
        return text.strip().casefold() if self._ignore_case else text.strip()
