"""`gsm8k`: 1 where the completion's final number equals the expected one, else 0."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, take_arguments

# A hyphen is a minus sign only where nothing stands before it to subtract from: the last number of `10-3` is 3.
NUMBER = re.compile(r"((?<![\w).])[-−]\$?)?((?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")
MARKERS = re.compile(r"####|\bA:|\banswer is\b:?|\\boxed\{", re.IGNORECASE)


class Gsm8k:
    """Compares final numbers by value: `$1,234.00` equals `1234`.

    The final number is the first one behind the last answer marker (`####`, `A:`, `answer is`, `\\boxed{`), or the last
    one of the text where there is no marker. A completion without a number is wrong (0), not unjudgeable.

    Arguments: field (answer): the key of the metadata that holds the expected number.
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        self._field = take_arguments("gsm8k", arguments, field="answer")["field"]

    def identity(self) -> Mapping[str, Any]:
        return {"field": self._field, "version": 2}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        if self._field not in candidate.metadata:
            return Judgement(None, "error", f"metadata has no '{self._field}' to compare with")
        expected = final_number(str(candidate.metadata[self._field]))
        if expected is None:
            return Judgement(None, "error", f"metadata '{self._field}' holds no number")
        found = final_number(candidate.completion)
        detail = "no final number" if found is None else f"final number {found:f}"
        return Judgement.of(float(found == expected), detail)


def final_number(text: str) -> Decimal | None:
    """The number that a worked solution ends in, or None.

    >>> final_number("6 + 12 = 18, so A: $1,018.50.")
    Decimal('1018.50')
    """
    markers = list(MARKERS.finditer(text))
    if markers:
        behind = NUMBER.search(text, markers[-1].end())
        if behind is not None:
            return _value(behind)
    numbers = list(NUMBER.finditer(text))
    return _value(numbers[-1]) if numbers else None


def _value(number: re.Match[str]) -> Decimal:
    minus, digits = number.groups()
    return Decimal(digits.replace(",", "")) * (-1 if minus else 1)
