"""The number that a worked solution ends in, and verifiers that compare it with the expected one."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.rewards.answer_markers import CUT_OFF, STRICT_HELP, UNMARKED, Marked, last_marked
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward
from grao_pipeline.scoring.rewards.common import readable
from grao_pipeline.scoring.rewards.expected import NoExpectedAnswer, expected_text, unreadable
from grao_pipeline.scoring.rewards.quantities import (
    Quantity,
    begins_with_number,
    first_quantity,
    has_number,
    last_quantity,
    leading_quantity,
    whole_quantity,
)


class FinalNumberReward(Reward):
    """1 if the completion's final number is right, else 0: what `gsm8k` and `numeric` share.

    A completion without a number is wrong (0). If the metadata has no number that can be read, the status is `error`.
    """

    class Arguments(PluginArguments):
        field: str = argument("answer", "Metadata key of the expected number, which may end a worked solution.")
        strict: bool = argument(False, STRICT_HELP)

    arguments: Arguments
    verifies = True

    @abstractmethod
    def is_right(self, quantity: Quantity, expected: Quantity) -> bool:
        """Whether the final number is right."""

    @abstractmethod
    def shown(self, quantity: Quantity) -> str:
        """The final number as the detail of a judgement names it."""

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        try:
            expected = expected_quantity(candidate.metadata, self.arguments.field)
        except NoExpectedAnswer as error:
            return error.judgement()
        final = final_number(candidate.completion, self.arguments.strict, candidate.was_cut)
        if final.quantity is None:
            return Judgement.of(0.0, final.problem)
        detail = readable(f"final number {self.shown(final.quantity)}")
        return Judgement.of(self.is_right(final.quantity, expected), detail)


@dataclass(frozen=True)
class FinalNumber:
    """The number that a text ends in, or why it has none."""

    quantity: Quantity | None
    problem: str = "no final number"


def expected_quantity(metadata: Mapping[str, object], field: str) -> Quantity:
    """The expected number.

    Raises:
        NoExpectedAnswer: it is missing, or it cannot be read whole.
    """
    text = expected_text(metadata, field)
    marked = last_marked(text, _states_a_number)
    quantity = whole_quantity(text if marked is None else marked.text)
    if quantity is None:
        raise unreadable(field, text)
    return quantity


def final_number(text: str, strict: bool = False, was_cut: bool = False) -> FinalNumber:
    """The number that a worked solution ends in.

    >>> final_number("6 + 12 = 18, so A: $1,018.50.").quantity.value
    Decimal('1018.50')

    Args:
        strict: only a marked number counts.
        was_cut: the text was cut off, so that an unmarked number is not an answer.
    """
    marked = last_marked(text, lambda marked: _states_a_number(marked) and (marked.is_complete or not was_cut))
    if marked is not None:
        return FinalNumber(_number_of(marked))
    if was_cut:
        return FinalNumber(None, CUT_OFF)
    if strict:
        return FinalNumber(None, UNMARKED)
    return FinalNumber(last_quantity(text))


def _states_a_number(marked: Marked) -> bool:
    """A box is an answer whatever it holds; a label where a number follows at once; a phrase where one follows."""
    if marked.kind == "box":
        return True
    if marked.kind == "label":
        return begins_with_number(marked.text)
    return has_number(marked.text)


def _number_of(marked: Marked) -> Quantity | None:
    if marked.kind == "box":
        return whole_quantity(marked.text)
    return leading_quantity(marked.text) if marked.kind == "label" else first_quantity(marked.text)
