"""`gsm8k`: 1 where the completion's final number equals the expected one, else 0."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward

# A hyphen is a minus sign only where nothing precedes it to subtract from: the last number of `10-3` is 3.
NUMBER = re.compile(r"((?<![\w).])[-−]\$?)?((?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")
MARKERS = re.compile(r"####|\bA:|\banswer is\b:?|\\boxed\{", re.IGNORECASE)


class Gsm8k(Reward):
    """1 if the completion's final number equals the expected one (`$1,234.00` equals `1234`), else 0.

    The final number is the first one after the last answer marker (`####`, `A:`, `answer is`, `\\boxed{`), or the last
    one of the text where it has no marker. A completion without a number is wrong (0), not an error.
    """

    class Arguments(PluginArguments):
        field: str = argument("answer", "Metadata key of the expected number, which may end a worked solution.")

    arguments: Arguments

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), "version": 2}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        field = self.arguments.field
        if field not in candidate.metadata:
            return Judgement(None, "error", f"metadata has no '{field}' to compare with")
        expected = final_number(str(candidate.metadata[field]))
        if expected is None:
            return Judgement(None, "error", f"metadata '{field}' holds no number")
        number = final_number(candidate.completion)
        detail = "no final number" if number is None else f"final number {number:f}"
        return Judgement.of(number == expected, detail)


def final_number(text: str) -> Decimal | None:
    """The number that a worked solution ends in, or None.

    >>> final_number("6 + 12 = 18, so A: $1,018.50.")
    Decimal('1018.50')
    """
    markers = list(MARKERS.finditer(text))
    if markers:
        marked = NUMBER.search(text, markers[-1].end())
        if marked is not None:
            return _value(marked)
    numbers = list(NUMBER.finditer(text))
    return _value(numbers[-1]) if numbers else None


def _value(number: re.Match[str]) -> Decimal:
    minus, digits = number.groups()
    return Decimal(digits.replace(",", "")) * (-1 if minus else 1)
