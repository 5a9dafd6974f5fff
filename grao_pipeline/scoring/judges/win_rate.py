"""`judge-win-rate`: how often does a language model prefer a sample to the other samples of its group?"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.scoring.judges.answer_format import NoAnswer
from grao_pipeline.scoring.judges.base import Reply
from grao_pipeline.scoring.judges.comparison import TIE, Comparison
from grao_pipeline.scoring.judges.criteria import criterion_text
from grao_pipeline.scoring.judges.dispatch import Case
from grao_pipeline.scoring.judges.prompt import Judge
from grao_pipeline.scoring.rewards.arguments import positive_integer
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, parse_boolean

NAME = "judge-win-rate"
ALL = "all"


class JudgeWinRate:
    """The share of its group that the judge likes less, 0 to 1: a win counts 1, a tie 1/2, a loss 0.

    Each sample is compared with `opponents` others of its group, in both orders. Which ones is drawn from a hash of the
    texts, so the same group always gives the same rewards; a pair that meets from both sides is asked about once.
    Equal texts tie, unasked. The reference is compared with samples of the group likewise, where there is one.
    A comparison that a verdict is missing from is not counted; where none is left, and where the group has no other
    sample, there is no reward but a status.

    Arguments: opponents (4): a number, or `all`; criterion (helpful): `helpful`, `harmless`, or a sentence of one's
    own; swap (true): ask in both orders.
    """

    reads_group = True

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        defaults = {"opponents": "4", "criterion": "helpful", "swap": "true"}
        self._judge = Judge(NAME, arguments, runtime, defaults)
        own = self._judge.arguments
        self._max_opponents = None if own["opponents"] == ALL else positive_integer(NAME, "opponents", own["opponents"])
        swap = parse_boolean(NAME, "swap", own["swap"])
        self._comparison = Comparison(self._judge, criterion_text(own["criterion"]), swap)

    def identity(self) -> Mapping[str, Any]:
        return {**self._comparison.identity(), "opponents": self._max_opponents or ALL}

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        return self._judge.judge(candidates, self._case)

    def close(self) -> None:
        """Free the judge's device."""
        self._judge.model.close()

    def _case(self, candidate: Candidate) -> Case | Judgement:
        completion = candidate.completion
        if not candidate.others:
            return Judgement(None, "error", "its group has no other sample to compare it with")
        opponents = self._opponents(candidate)
        questions = {
            opponent: self._comparison.questions(candidate.messages, completion, opponent)
            for opponent in opponents
            if opponent != completion
        }

        def conclude(replies: Sequence[Reply]) -> Judgement:
            unread = iter(replies)
            outcomes = {completion: TIE}
            failures = []
            for opponent, asked in questions.items():
                own = [next(unread) for _ in asked]
                try:
                    outcomes[opponent] = fmean(self._comparison.outcomes(completion, opponent, own))
                except NoAnswer as error:
                    failures.append(error)
            found = [outcomes[opponent] for opponent in opponents if opponent in outcomes]
            if not found:
                raise failures[0]
            won, lost = sum(outcome > TIE for outcome in found), sum(outcome < TIE for outcome in found)
            detail = f"won {won}, tied {len(found) - won - lost}, lost {lost}"
            if failures:
                detail += f"; not compared {len(opponents) - len(found)}: {failures[0].detail}"
            return Judgement.of(fmean((1 + outcome) / 2 for outcome in found), detail)

        return Case([question for asked in questions.values() for question in asked], conclude)

    def _opponents(self, candidate: Candidate) -> list[str]:
        """The others whose pair with the completion has the smallest hash: where a meets b, b tends to meet a."""

        def draw(other: str) -> str:
            return fingerprint(sorted([candidate.completion, other]))

        return sorted(candidate.others, key=draw)[: self._max_opponents]
