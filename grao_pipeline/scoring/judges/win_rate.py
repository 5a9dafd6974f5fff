"""`judge-win-rate`: how often a language model prefers a sample to the other samples of its group."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Annotated

from pydantic import BeforeValidator

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.scoring.judges.answer_format import NoAnswer
from grao_pipeline.scoring.judges.base import Reply
from grao_pipeline.scoring.judges.comparison import TIE, Comparison, ComparisonArguments, count_verdicts
from grao_pipeline.scoring.judges.dispatch import Case
from grao_pipeline.scoring.judges.judge import Judge
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime

ALL = "all"
SHOWN = ("consistent", "inconsistent", "first", "second")
"""Counts of the verdicts in a detail, next to those of wins, ties and losses."""
DETAIL = re.compile(r"\b(won|tied|lost|consistent|inconsistent|first|second) (\d+)")
NAMES = {"won": "win", "tied": "tie", "lost": "loss"}


class WinRateJudge(Judge):
    """The win rate of a sample against other samples of its group, 0 to 1: a win counts 1, a tie 1/2, a loss 0.

    Every sample is compared with `opponents` others of its group. The opponents are drawn from a hash of the texts, so
    the same group always gets the same rewards; a pair that meets from both sides is asked about once.
    Identical texts are a tie; the judge is not called. The reference is compared with samples of the group in the same
    way. A comparison without a verdict is not counted; a sample without any comparison gets no reward but a status.
    """

    class Arguments(ComparisonArguments):
        opponents: Annotated[int | None, BeforeValidator(lambda value: None if value == ALL else value)] = argument(
            4, f"Other samples to compare a sample with: a number, or `{ALL}`.", gt=0
        )

    reads_group = True

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._max_opponents = arguments.opponents
        self._comparison = Comparison(self._prompt, arguments.criterion, arguments.swap)

    @classmethod
    def max_questions(cls, arguments: PluginArguments, num_samples: int) -> int:
        assert isinstance(arguments, cls.Arguments)
        opponents = min(arguments.opponents or num_samples, num_samples - 1)
        return opponents * (2 if arguments.swap else 1)

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), **self._comparison.identity(), "opponents": self._max_opponents or ALL}

    def verdicts(self, judgement: Judgement) -> Mapping[str, int]:
        counts = DETAIL.findall((judgement.detail or "").partition(";")[0])
        return {NAMES.get(name, name): int(count) for name, count in counts}

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
            verdicts: Counter[str] = Counter()
            failures = []
            for opponent, asked in questions.items():
                replies_to_pair = [next(unread) for _ in asked]
                try:
                    of_pair = self._comparison.outcomes(completion, opponent, replies_to_pair)
                    outcomes[opponent] = fmean(of_pair)
                    verdicts += count_verdicts(self._comparison.described(completion, opponent, of_pair))
                except NoAnswer as error:
                    failures.append(error)
            counted = [outcomes[opponent] for opponent in opponents if opponent in outcomes]
            if not counted:
                raise failures[0]
            won, lost = sum(outcome > TIE for outcome in counted), sum(outcome < TIE for outcome in counted)
            detail = f"won {won}, tied {len(counted) - won - lost}, lost {lost}"
            detail += "".join(f", {name} {verdicts[name]}" for name in SHOWN if verdicts[name])
            if failures:
                detail += f"; not compared {len(opponents) - len(counted)}: {failures[0].detail}"
            return Judgement.of(fmean((1 + outcome) / 2 for outcome in counted), detail)

        return Case([question for asked in questions.values() for question in asked], conclude)

    def _opponents(self, candidate: Candidate) -> list[str]:
        """The others whose pair with the completion has the smallest hash: if a meets b, b tends to meet a."""

        def draw(other: str) -> str:
            return fingerprint(sorted([candidate.completion, other]))

        return sorted(candidate.others, key=draw)[: self._max_opponents]
