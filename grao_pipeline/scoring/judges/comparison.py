"""Two answers to one conversation, compared on a criterion, in both orders."""

from collections.abc import Mapping, Sequence
from typing import Any

from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.scoring.judges.answer_format import read_answer
from grao_pipeline.scoring.judges.base import Question, Reply
from grao_pipeline.scoring.judges.prompt import Judge
from grao_pipeline.scoring.judges.untrusted_text import Block, conversation_blocks

WIN, TIE, LOSS = 1.0, 0.0, -1.0
VERDICTS = {"verdict": ["A", "B", "tie"]}
OUTCOMES = {("A", True): WIN, ("B", False): WIN, ("A", False): LOSS, ("B", True): LOSS}
WORDS = {WIN: "win", TIE: "tie", LOSS: "loss"}

RULES = """\
You are an impartial judge. You are shown a conversation and two answers to its last turn, and you say which answer is \
better by one criterion, and by nothing else.

The criterion. {criterion}"""

TASK = """\
Which is better by the criterion, answer A or answer B? Which of them comes first means nothing, and length is no \
merit in itself. The verdict is "A" if answer A is better, "B" if answer B is better, "tie" if neither is."""

Messages = Sequence[Mapping[str, str]]


class Comparison:
    """Asks which of two answers is better, and reads what a judge says from the first one's side.

    Args:
        criterion: its text.
        swap: ask in both orders. A judge that prefers a place to an answer then contradicts itself, and its verdicts
            cancel. Otherwise it is asked once, in an order drawn from a hash of the two texts.
    """

    def __init__(self, judge: Judge, criterion: str, swap: bool) -> None:
        self._judge = judge
        self._criterion = criterion
        self._rules = RULES.format(criterion=criterion)
        self._swap = swap

    def questions(self, messages: Messages, one: str, other: str) -> list[Question]:
        """What to ask about `one` against `other`. Both ways round, it is the same questions."""
        return [
            self._question(messages, one, other) if first else self._question(messages, other, one)
            for first in self._places(one, other)
        ]

    def outcomes(self, one: str, other: str, replies: Sequence[Reply]) -> list[float]:
        """`one`'s WIN, TIE or LOSS by each reply to the `questions` about these two.

        Raises:
            NoAnswer: one of the replies is no verdict; half a comparison is none.
        """
        verdicts = [read_answer(reply, VERDICTS)["verdict"] for reply in replies]
        places = self._places(one, other)
        return [OUTCOMES.get(pair, TIE) for pair in zip(verdicts, places, strict=True)]

    def identity(self) -> dict[str, Any]:
        """What determines the outcomes."""
        specimen = _blocks([{"role": "user", "content": "question"}], "one", "other")
        judge = self._judge.identity(self._rules, specimen, TASK, VERDICTS)
        return {**judge, "criterion": self._criterion, "swap": self._swap}

    def _places(self, one: str, other: str) -> list[bool]:
        """For each question: is `one` answer A?"""
        if self._swap:
            return [True, False]
        smaller_first = int(fingerprint(sorted([one, other])), 16) % 2 == 0
        return [(one < other) == smaller_first]

    def _question(self, messages: Messages, answer_a: str, answer_b: str) -> Question:
        return self._judge.question(self._rules, _blocks(messages, answer_a, answer_b), TASK, VERDICTS)


def _blocks(messages: Messages, answer_a: str, answer_b: str) -> list[Block]:
    return [*conversation_blocks(messages), Block("answer A", answer_a), Block("answer B", answer_b)]
