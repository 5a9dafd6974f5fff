"""`exact-match`: 1 where the completion is the expected answer, else 0."""

from collections.abc import Sequence

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward
from grao_pipeline.scoring.rewards.expected import NoExpectedAnswer, expected_texts


class ExactMatch(Reward):
    """1 if the stripped completion equals the expected answer, or one of a list of accepted answers, else 0.

    null + `error`: the metadata has no expected answer, or one that is neither text nor a number (an object).
    """

    class Arguments(PluginArguments):
        field: str = argument("answer", "Metadata key of the expected answer; `reference` stands for the reference.")
        ignore_case: bool = argument(False, "Ignore the difference between small and capital letters.")

    arguments: Arguments
    verifies = True

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        try:
            accepted = self._accepted(candidate)
        except NoExpectedAnswer as error:
            return error.judgement()
        completion = self._normalized(candidate.completion)
        return Judgement.of(any(completion == self._normalized(answer) for answer in accepted))

    def _accepted(self, candidate: Candidate) -> list[str]:
        if self.arguments.field != "reference":
            return expected_texts(candidate.metadata, self.arguments.field)
        if candidate.reference is None:
            raise NoExpectedAnswer("no reference to compare with")
        return [candidate.reference]

    def _normalized(self, text: str) -> str:
        return text.strip().casefold() if self.arguments.ignore_case else text.strip()
