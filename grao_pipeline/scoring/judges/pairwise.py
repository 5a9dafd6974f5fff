"""`judge-pairwise`: whether a language model prefers the completion to the reference. The reward of the GRAO paper."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from grao_pipeline.arguments import PluginArguments
from grao_pipeline.scoring.judges.base import Reply
from grao_pipeline.scoring.judges.comparison import TIE, Comparison, ComparisonArguments, count_verdicts
from grao_pipeline.scoring.judges.dispatch import Case
from grao_pipeline.scoring.judges.judge import Judge
from grao_pipeline.scoring.rewards.base import REFERENCE_FIELD, Candidate, Judgement, RewardRuntime


class PairwiseJudge(Judge):
    """1 where the judge prefers the completion to the reference, 0 for a tie, -1 where it prefers the reference.

    It is asked twice, in both orders, and the two are averaged: verdicts that contradict each other give 0.
    The reference itself, and a completion equal to it, is a tie by definition; the judge is not asked.
    Without a reference there is nothing to compare with: null, status `error`.
    """

    Arguments = ComparisonArguments

    def __init__(self, arguments: ComparisonArguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._comparison = Comparison(self._prompt, arguments.criterion, arguments.swap)

    @classmethod
    def max_questions(cls, arguments: PluginArguments, num_samples: int) -> int:
        assert isinstance(arguments, ComparisonArguments)
        return 2 if arguments.swap else 1

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), **self._comparison.identity()}

    def fields(self) -> Sequence[str]:
        return (REFERENCE_FIELD,)

    def verdicts(self, judgement: Judgement) -> Mapping[str, int]:
        return count_verdicts((judgement.detail or "").partition(" | ")[0])

    def _case(self, candidate: Candidate) -> Case | Judgement:
        completion, reference = candidate.completion, candidate.reference
        if reference is None:
            return Judgement(None, "error", "the prompt has no reference to compare the completion with")
        if completion == reference:
            return Judgement(TIE, "ok", "is the reference")

        def conclude(replies: Sequence[Reply]) -> Judgement:
            outcomes = self._comparison.outcomes(completion, reference, replies)
            verdicts = self._comparison.described(completion, reference, outcomes)
            return Judgement.of(fmean(outcomes), " | ".join([verdicts, *(reply.text for reply in replies)]))

        return Case(self._comparison.questions(candidate.messages, completion, reference), conclude)
