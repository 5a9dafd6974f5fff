"""`gsm8k`: 1 where the completion's final number equals the expected one, else 0."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.rewards.answer_markers import Marked, last_marked
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
    readings,
    whole_quantity,
)

CUT_OFF = "cut off before an answer"
UNMARKED = "no marked answer"
STRICT_HELP = "Count only an answer that is marked as one (####, A:, Answer:, answer is, a box)."


class Gsm8k(Reward):
    r"""1 if the completion's final number equals the expected one (`$1,234.00` equals `1234`), else 0.

    The final number is the one of the last answer marker (`#### 18`, `A: 18`, `Answer: 18`, `the answer is 18`,
    `\boxed{18}`), or the last one of the text where it has no marker; `strict=true` then takes none. A completion
    without a number is wrong (0), not an error. So is one without a marker that was cut off (finish reason `length`):
    the number that it happens to end in is not its answer.

    A marked number is read whole: `\boxed{5 \text{ or } 9}`, `the answer is 3-5` and `A: 12,3456` hold none. Of an
    equation (`the answer is 2 + 4 = 6`) the result counts. The expected answer must be one number, with or without a
    unit, or a worked solution that ends in one; otherwise the status is `error`.
    """

    class Arguments(PluginArguments):
        field: str = argument("answer", "Metadata key of the expected number, which may end a worked solution.")
        strict: bool = argument(False, STRICT_HELP)

    arguments: Arguments
    verifies = True

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), "version": 3}

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
        detail = readable(f"final number {final.quantity.scaled:f}")
        return Judgement.of(any(value == other for value, other in readings(final.quantity, expected)), detail)


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
        was_cut: the text was cut off, so that an unmarked number is no answer.
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
