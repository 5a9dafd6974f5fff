"""`judge-pairwise`: does a language model prefer the completion to the reference? The reward of the GRAO paper."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from grao_pipeline.scoring.judges.base import Reply
from grao_pipeline.scoring.judges.comparison import TIE, WORDS, Comparison
from grao_pipeline.scoring.judges.criteria import criterion_text
from grao_pipeline.scoring.judges.dispatch import Case
from grao_pipeline.scoring.judges.prompt import Judge
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, parse_boolean

NAME = "judge-pairwise"


class JudgePairwise:
    """R(o, y) = 1 where the judge prefers the completion o to the reference y, 0 for a tie, -1 where it prefers y.

    It is asked twice, with the order swapped, and the two are averaged: verdicts that contradict each other make 0.
    The reference itself, and a completion equal to it, is a tie by definition; no judge is asked.
    Without a reference there is nothing to compare with: null, status `error`.

    Arguments: criterion (helpful): `helpful`, `harmless`, or a sentence of one's own; swap (true): ask in both orders.
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        self._judge = Judge(NAME, arguments, runtime, {"criterion": "helpful", "swap": "true"})
        own = self._judge.arguments
        swap = parse_boolean(NAME, "swap", own["swap"])
        self._comparison = Comparison(self._judge, criterion_text(own["criterion"]), swap)

    def identity(self) -> Mapping[str, Any]:
        return self._comparison.identity()

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        return self._judge.judge(candidates, self._case)

    def close(self) -> None:
        """Free the judge's device."""
        self._judge.model.close()

    def _case(self, candidate: Candidate) -> Case | Judgement:
        completion, reference = candidate.completion, candidate.reference
        if reference is None:
            return Judgement(None, "error", "the prompt has no reference to compare the completion with")
        if completion == reference:
            return Judgement(TIE, "ok", "is the reference")

        def conclude(replies: Sequence[Reply]) -> Judgement:
            outcomes = self._comparison.outcomes(completion, reference, replies)
            shown = (f"{WORDS[outcome]} {reply.text}" for outcome, reply in zip(outcomes, replies, strict=True))
            return Judgement.of(fmean(outcomes), " | ".join(shown))

        return Case(self._comparison.questions(candidate.messages, completion, reference), conclude)
