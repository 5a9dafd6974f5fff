"""`exact-match`: 1 where the completion is the expected answer, else 0."""

from collections.abc import Sequence

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward


class ExactMatch(Reward):
    """1 if the stripped completion equals the expected answer, else 0."""

    class Arguments(PluginArguments):
        field: str = argument("answer", "Metadata key of the expected answer; `reference` stands for the reference.")
        ignore_case: bool = argument(False, "Ignore the difference between small and capital letters.")

    arguments: Arguments

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        field = self.arguments.field
        expected = candidate.reference if field == "reference" else candidate.metadata.get(field)
        if expected is None:
            missing = "no reference" if field == "reference" else f"no '{field}' in the metadata"
            return Judgement(None, "error", f"{missing} to compare with")
        return Judgement.of(self._normalized(candidate.completion) == self._normalized(str(expected)))

    def _normalized(self, text: str) -> str:
        return text.strip().casefold() if self.arguments.ignore_case else text.strip()
