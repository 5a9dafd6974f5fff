"""Two answers to one conversation, compared on a criterion, in both orders."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator

from grao_pipeline.arguments import argument
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.scoring.judges.answer_format import read_answer
from grao_pipeline.scoring.judges.base import Question, Reply
from grao_pipeline.scoring.judges.criteria import criterion_text
from grao_pipeline.scoring.judges.judge import JudgeArguments
from grao_pipeline.scoring.judges.prompt import JudgePrompt
from grao_pipeline.scoring.judges.untrusted_text import TextBlock, conversation_blocks

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

VERDICT = re.compile(r"(win|tie|loss) as ([AB])")
PREFERS_A = {("win", "A"), ("loss", "B")}
PREFERS_B = {("win", "B"), ("loss", "A")}

Messages = Sequence[Mapping[str, str]]


class ComparisonArguments(JudgeArguments):
    """Arguments of the judges that compare answers."""

    criterion: Annotated[str, AfterValidator(criterion_text)] = argument(
        "helpful", "helpful, harmless, or a sentence of your own.", validate_default=True
    )
    swap: bool = argument(True, "Ask in both orders and average; false: once, in an order drawn from a hash.")


class Comparison:
    """Asks which of two answers is better, and reads the verdicts from the first answer's side.

    Args:
        criterion: text of the criterion.
        swap: ask in both orders. A judge that prefers a position to an answer then contradicts itself, and its verdicts
            cancel. Otherwise it is asked once, in an order drawn from a hash of the two texts.
    """

    def __init__(self, prompt: JudgePrompt, criterion: str, swap: bool) -> None:
        self._prompt = prompt
        self._criterion = criterion
        self._rules = RULES.format(criterion=criterion)
        self._swap = swap

    def questions(self, messages: Messages, one: str, other: str) -> list[Question]:
        """The questions about `one` against `other`; the same as those about `other` against `one`."""
        return [
            self._question(messages, one, other) if is_first else self._question(messages, other, one)
            for is_first in self._positions(one, other)
        ]

    def outcomes(self, one: str, other: str, replies: Sequence[Reply]) -> list[float]:
        """`one`'s WIN, TIE or LOSS by each reply to the `questions` about these two.

        Raises:
            NoAnswer: one of the replies is not a verdict; half a comparison does not count.
        """
        verdicts = [read_answer(reply, VERDICTS)["verdict"] for reply in replies]
        positions = self._positions(one, other)
        return [OUTCOMES.get(pair, TIE) for pair in zip(verdicts, positions, strict=True)]

    def described(self, one: str, other: str, outcomes: Sequence[float]) -> str:
        """The outcomes with the position of `one`, e.g. `win as A, loss as B`; `count_verdicts` reads it."""
        positions = self._positions(one, other)
        pairs = zip(outcomes, positions, strict=True)
        return ", ".join(f"{WORDS[outcome]} as {'A' if is_first else 'B'}" for outcome, is_first in pairs)

    def identity(self) -> dict[str, object]:
        """What determines the outcomes, apart from the model."""
        specimen = _blocks([{"role": "user", "content": "question"}], "one", "other")
        prompt = self._prompt.fingerprint(self._rules, specimen, TASK, VERDICTS)
        return {"prompt": prompt, "criterion": self._criterion, "swap": self._swap}

    def _positions(self, one: str, other: str) -> list[bool]:
        """Per question: whether `one` is answer A."""
        if self._swap:
            return [True, False]
        smaller_first = int(fingerprint(sorted([one, other])), 16) % 2 == 0
        return [(one < other) == smaller_first]

    def _question(self, messages: Messages, answer_a: str, answer_b: str) -> Question:
        return self._prompt.question(self._rules, _blocks(messages, answer_a, answer_b), TASK, VERDICTS)


def count_verdicts(description: str) -> Counter[str]:
    """A comparison that was `described`: `win`, `tie` or `loss` of both orders together; `consistent` or not;
    and of every decided verdict the position, `first` or `second`, of the preferred answer."""
    verdicts = VERDICT.findall(description)
    counts: Counter[str] = Counter()
    if verdicts:
        words = [word for word, _ in verdicts]
        wins = words.count("win") - words.count("loss")
        counts["win" if wins > 0 else "loss" if wins < 0 else "tie"] += 1
        counts["first"] += sum(verdict in PREFERS_A for verdict in verdicts)
        counts["second"] += sum(verdict in PREFERS_B for verdict in verdicts)
    if len(verdicts) > 1:
        counts["consistent" if len(set(words)) == 1 else "inconsistent"] += 1
    return counts


def _blocks(messages: Messages, answer_a: str, answer_b: str) -> list[TextBlock]:
    return [*conversation_blocks(messages), TextBlock("answer A", answer_a), TextBlock("answer B", answer_b)]
